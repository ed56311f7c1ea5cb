CREATE TABLE accounts (
  id integer PRIMARY KEY,
  balance integer NOT NULL CHECK (balance >= 0)
);
INSERT INTO accounts (id, balance) VALUES (1, 100), (2, 100);

CREATE TABLE entries (
  account integer NOT NULL,
  amount integer NOT NULL
);
