CREATE TABLE tasks (
  id uuid PRIMARY KEY,
  title text NOT NULL,
  notes text NOT NULL,
  status text NOT NULL CHECK (status IN ('open', 'doing', 'done')),
  version integer NOT NULL DEFAULT 1,
  -- Milliseconds, as in the API: a page's last position must be the stored value, not a rounded one.
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  -- Names the last change, so that its repetition over a new connection is recognised.
  change_id uuid
);

-- Pages are read newest first from a position on, of all tasks and of those in one status.
CREATE INDEX tasks_created_at_id ON tasks (created_at, id);
CREATE INDEX tasks_status_created_at_id ON tasks (status, created_at, id);

-- Text within titles. The ICU collation folds case in the same way whatever the database's own locale is.
-- The extension is a trusted one: the database's owner may install it.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX tasks_title_text ON tasks USING gin (lower(title COLLATE "und-x-icu") gin_trgm_ops);
