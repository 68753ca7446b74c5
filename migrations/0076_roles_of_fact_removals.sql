-- Who appends sets facts, and so writes down which were removed.
GRANT SELECT, INSERT, UPDATE ON fact_removals TO hub_append;
