-- PostgreSQL only: SQLite finds the greatest index of a log by its key whatever it believes of the table's size.
SELECT 1;
