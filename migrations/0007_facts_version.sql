-- How the facts came to be: by which version of the rules, and how often they were made again from the log.

CREATE TABLE facts_state (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The version of the rules by which all facts were made; 0 when that is not known.
    version      integer NOT NULL,
    -- Raised whenever facts change without an event: whoever holds what was made of facts makes it anew.
    repair_count bigint  NOT NULL
);
INSERT INTO facts_state (version, repair_count) VALUES (0, 0);

-- Who holds what, in all tenants: for the end of a principal.
CREATE INDEX facts_grants ON facts ((fact->>'principal')) WHERE fact->>'kind' = 'grant';
