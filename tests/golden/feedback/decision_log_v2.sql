BEGIN TRANSACTION;
CREATE TABLE decision (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time_s REAL NOT NULL,
    router INTEGER NOT NULL REFERENCES router, arm INTEGER NOT NULL, p TEXT NOT NULL,
    tokens TEXT NOT NULL, cost TEXT NOT NULL, propensities TEXT, posterior TEXT NOT NULL,
    is_hinted INTEGER NOT NULL, features TEXT NOT NULL, prompt_sha256 TEXT,
    prompt_bytes INTEGER, prompt TEXT
);
INSERT INTO "decision" VALUES(1,'d1',1700000000.0,1,0,'[0.6, 0.9]','[50.0, 500.0]','[50.0, 500.0]',NULL,'{"general-oe": 0.25, "math-oe": 0.75}',0,'{"n_bytes": 4.0, "mean_word_bytes": 1.0, "digit_share": 0.5, "operator_share": 0.25, "punctuation_share": 0.25, "non_ascii_share": 0.0}','30ad205245cd25231f697fa8934fdf8d65d0cb24040d9f0d4106fa4cfc68e4c7',4,'2+2?');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('salt','d7469b02a7c30d87c8974546df5ac4f7ea55cb7deb9d30e974b91cad7514ca0b');
CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, decision TEXT NOT NULL UNIQUE REFERENCES decision (id),
    time_s REAL NOT NULL, outcome TEXT, score REAL, completion_tokens INTEGER, seconds REAL
);
INSERT INTO "outcome" VALUES(1,'d1',1700000005.0,'correct',1.0,40,1.5);
CREATE TABLE router (
    id INTEGER PRIMARY KEY, artifact_id TEXT NOT NULL, arms TEXT NOT NULL, unit TEXT NOT NULL,
    UNIQUE (artifact_id, arms, unit)
);
INSERT INTO "router" VALUES(1,'abc','["toy:direct", "toy:reasoning@max"]','tokens');
CREATE TABLE served (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    time_s REAL NOT NULL,
    endpoint TEXT NOT NULL,
    asked TEXT NOT NULL,
    arm TEXT NOT NULL,
    status INTEGER NOT NULL,
    seconds REAL,
    caller TEXT NOT NULL,
    conversation TEXT NOT NULL,
    mode TEXT NOT NULL,
    budget TEXT,
    reasons TEXT NOT NULL,
    p REAL,
    expected_tokens REAL,
    expected_flops REAL,
    reference_arm TEXT NOT NULL,
    reference_tokens REAL,
    reference_flops REAL,
    reference_usd REAL,
    max_tokens INTEGER,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    thinking_tokens INTEGER,
    cached_tokens INTEGER,
    usd REAL,
    is_streamed INTEGER NOT NULL,
    error TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    upstream TEXT NOT NULL,
    n_attempts INTEGER NOT NULL,
    decision_s REAL,
    added_s REAL,
    first_token_s REAL
);
INSERT INTO "served" VALUES(1,'d1',1700000000.0,'chat','thinkroute:cheap','toy:direct',200,1.5,'team','','ift','256','["best-tradeoff", "task-guessed"]',0.6,50.0,NULL,'toy:reasoning@max',500.0,NULL,0.01,900,10,40,NULL,2,0.001,0,'','stop','',1,0.0001,0.001,NULL);
INSERT INTO "served" VALUES(2,'d2',1700000001.0,'chat','thinkroute:cheap','toy:direct',504,1.5,'team','','ift',NULL,'["best-tradeoff", "task-guessed"]',0.6,50.0,NULL,'toy:reasoning@max',500.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'upstream-timeout','stop','',1,0.0001,0.001,NULL);
CREATE TABLE served_outcome (
    served TEXT PRIMARY KEY REFERENCES served (id), time_s REAL NOT NULL, outcome TEXT, score REAL
);
INSERT INTO "served_outcome" VALUES('d2',1700000005.0,NULL,0.25);
CREATE INDEX served_time ON served (time_s);
COMMIT;
PRAGMA application_id=1414678082;
PRAGMA user_version=2;
