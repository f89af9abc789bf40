-- How people log in to an app with their license by OpenID Connect: JSON; NULL where they do not.
ALTER TABLE apps ADD COLUMN oidc TEXT;
