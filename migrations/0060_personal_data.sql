-- Personal data of rows is sealed like that of the events: an object with the key's id, or a text from an event of an earlier version.
ALTER TABLE tenants ALTER COLUMN contact_email TYPE jsonb USING to_jsonb(contact_email);
