-- What a seal's picture was made of, SVG. The seal itself holds it as PNG.
ALTER TABLE seals ADD COLUMN svg TEXT;

DROP TRIGGER seals_are_fixed;

CREATE TRIGGER seals_are_fixed
BEFORE UPDATE OF id, kind, holder, uscc, octets, svg, certificates, created_at ON seals
BEGIN
    SELECT RAISE(ABORT, 'what a seal is never changes');
END;
