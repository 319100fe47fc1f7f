-- Who alone has shown to be in a group since it was begun; nothing once somebody else has, or where that is not known.
ALTER TABLE mls_groups ADD COLUMN alone TEXT;
