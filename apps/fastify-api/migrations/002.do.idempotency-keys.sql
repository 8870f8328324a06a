-- What was asked for under a key and the task as it was made: repetitions are answered with it, even after the
-- task was changed or removed.
CREATE TABLE idempotency_keys (
  key text PRIMARY KEY,
  fingerprint text NOT NULL,
  task_id uuid NOT NULL,
  title text NOT NULL,
  notes text NOT NULL,
  status text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

-- Every new key removes a few of the oldest.
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
