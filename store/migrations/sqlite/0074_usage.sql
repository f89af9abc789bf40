-- Usage statistics (应用情况统计), counted from the audit logs and from nothing else: they can be counted again at any time.
-- A row has what was used on a day in China Standard Time, and how often. Texts are empty where nothing is known.
CREATE TABLE usage_counts (
    day    BIGINT NOT NULL,              -- from 1970-01-01
    app    TEXT NOT NULL,
    action TEXT NOT NULL,                -- as the log has it
    flow   TEXT NOT NULL,                -- what for: of a session, of a license, or what was verified
    item   TEXT NOT NULL,                -- the code of the business item
    result TEXT NOT NULL,
    region TEXT NOT NULL,                -- six digits of GB/T 2260: where the holder of the license is registered
    uses   BIGINT NOT NULL CHECK (uses > 0),
    PRIMARY KEY (day, app, action, flow, item, result, region)
);

-- How many entries of each log are counted in there. It moves in the transaction that counts them.
CREATE TABLE usage_progress (
    log     BIGINT PRIMARY KEY,
    counted BIGINT NOT NULL CHECK (counted >= 0)
);
