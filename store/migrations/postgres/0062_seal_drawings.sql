-- What a seal's picture was made of, SVG. The seal itself holds it as PNG.
ALTER TABLE seals ADD COLUMN svg TEXT;

DROP TRIGGER seals_are_fixed ON seals;

CREATE TRIGGER seals_are_fixed
    BEFORE UPDATE OF id, kind, holder, uscc, octets, svg, certificates, created_at ON seals
    FOR EACH ROW EXECUTE FUNCTION refuse('what a seal is never changes');
