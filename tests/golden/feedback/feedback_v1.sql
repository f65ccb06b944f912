BEGIN TRANSACTION;
CREATE TABLE decision (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time_s REAL NOT NULL,
    router INTEGER NOT NULL REFERENCES router, arm INTEGER NOT NULL, p TEXT NOT NULL,
    tokens TEXT NOT NULL, cost TEXT NOT NULL, propensities TEXT, posterior TEXT NOT NULL,
    is_hinted INTEGER NOT NULL, features TEXT NOT NULL, prompt_sha256 TEXT,
    prompt_bytes INTEGER, prompt TEXT
);
INSERT INTO "decision" VALUES(1,'d1',1001.0,1,1,'[0.6, 0.9]','[5.0, 50.0]','[5.0, 50.0]','[0.25, 0.75]','{"general-oe": 0.25, "math-oe": 0.75}',0,'{"n_bytes": 4.0}','30ad205245cd25231f697fa8934fdf8d65d0cb24040d9f0d4106fa4cfc68e4c7',4,'2+2?');
INSERT INTO "decision" VALUES(2,'d2',1002.0,1,0,'[0.6, 0.9]','[5.0, 50.0]','[5.0, 50.0]',NULL,'{"general-oe": 0.25, "math-oe": 0.75}',0,'{"n_bytes": 8.0}','838d8cd3df2503ef4332c5b45c225216efd43ac1367f6a0c7158d92cc04cfd1a',8,'and 3+3?');
INSERT INTO "decision" VALUES(3,'d3',1004.0,1,0,'[0.6, 0.9]','[5.0, 50.0]','[5.0, 50.0]',NULL,'{"general-oe": 0.25, "math-oe": 0.75}',0,'{}',NULL,NULL,NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('salt','d7469b02a7c30d87c8974546df5ac4f7ea55cb7deb9d30e974b91cad7514ca0b');
CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, decision TEXT NOT NULL UNIQUE REFERENCES decision (id),
    time_s REAL NOT NULL, outcome TEXT, score REAL, completion_tokens INTEGER, seconds REAL
);
INSERT INTO "outcome" VALUES(1,'d1',1001.0,'correct',1.0,44,0.5);
INSERT INTO "outcome" VALUES(2,'d2',1003.0,NULL,0.5,NULL,NULL);
CREATE TABLE router (
    id INTEGER PRIMARY KEY, artifact_id TEXT NOT NULL, arms TEXT NOT NULL, unit TEXT NOT NULL,
    UNIQUE (artifact_id, arms, unit)
);
INSERT INTO "router" VALUES(1,'abc','["toy:direct", "toy:reasoning@64"]','tokens');
COMMIT;
PRAGMA application_id=1414678082;
PRAGMA user_version=1;
