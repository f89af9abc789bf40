-- Nothing here: the triggers of SQLite name the column themselves.
SELECT 1;
