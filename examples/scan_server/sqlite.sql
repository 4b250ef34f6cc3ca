-- The columns of phpIPAM's tables that the Scan Server uses, to try it without phpIPAM.
PRAGMA journal_mode = WAL;  -- readers do not wait for writers
CREATE TABLE IF NOT EXISTS scanAgents (
    id INTEGER PRIMARY KEY,
    code TEXT UNIQUE,
    last_access TEXT
);
CREATE TABLE IF NOT EXISTS subnets (
    id INTEGER PRIMARY KEY,
    subnet TEXT,  -- the network's address as a decimal number
    mask TEXT,
    scanAgent INTEGER,
    discoverSubnet INTEGER NOT NULL DEFAULT 1,
    pingSubnet INTEGER NOT NULL DEFAULT 0,
    lastDiscovery TEXT,
    lastScan TEXT
);
CREATE TABLE IF NOT EXISTS ipaddresses (
    id INTEGER PRIMARY KEY,
    subnetId INTEGER,
    ip_addr TEXT NOT NULL,  -- a decimal number, of IPv4 and IPv6 alike
    hostname TEXT,
    mac TEXT,
    lastSeen TEXT,
    description TEXT,
    note TEXT,
    state INTEGER DEFAULT 2,
    excludePing INTEGER NOT NULL DEFAULT 0,
    UNIQUE (ip_addr, subnetId)
);
CREATE TABLE IF NOT EXISTS settings (
    updateTags INTEGER DEFAULT 0,
    pingStatus TEXT NOT NULL DEFAULT '1800;3600'
);
CREATE TABLE IF NOT EXISTS ipTags (
    id INTEGER PRIMARY KEY,
    updateTag INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS api (
    app_last_access TEXT
);
