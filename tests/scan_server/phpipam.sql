-- The tables that the Scan Server uses, with the names, types, defaults and keys that phpIPAM 1.8 gives their columns.
CREATE DATABASE phpipam CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
USE phpipam;

CREATE TABLE scanAgents (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(128),
    description TEXT,
    type SET('direct', 'api', 'mysql') NOT NULL DEFAULT '',
    code VARCHAR(32) UNIQUE,
    last_access DATETIME
) ENGINE = InnoDB;

CREATE TABLE subnets (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    subnet VARCHAR(255),
    mask VARCHAR(3),
    sectionId INT UNSIGNED,
    description TEXT,
    vrfId INT UNSIGNED,
    masterSubnetId INT UNSIGNED NOT NULL DEFAULT 0,
    pingSubnet BOOL NOT NULL DEFAULT 0,
    discoverSubnet BOOL NOT NULL DEFAULT 0,
    resolveDNS BOOL NOT NULL DEFAULT 0,
    nameserverId INT DEFAULT 0,
    scanAgent INT,
    isFolder BOOL NOT NULL DEFAULT 0,
    isFull BOOL NOT NULL DEFAULT 0,
    isPool BOOL NOT NULL DEFAULT 0,
    state INT DEFAULT 2,
    editDate TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
    lastScan TIMESTAMP NULL,
    lastDiscovery TIMESTAMP NULL,
    KEY (masterSubnetId),
    KEY (sectionId),
    KEY (vrfId)
) ENGINE = InnoDB;

CREATE TABLE ipaddresses (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    subnetId INT UNSIGNED,
    ip_addr VARCHAR(100) NOT NULL,
    is_gateway BOOL NOT NULL DEFAULT 0,
    description VARCHAR(64),
    hostname VARCHAR(255),
    mac VARCHAR(20),
    owner VARCHAR(128),
    state INT DEFAULT 2,
    port VARCHAR(32),
    note TEXT,
    lastSeen DATETIME DEFAULT '1970-01-01 00:00:01',
    excludePing BOOL NOT NULL DEFAULT 0,
    PTRignore BOOL NOT NULL DEFAULT 0,
    PTR INT UNSIGNED DEFAULT 0,
    editDate TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
    UNIQUE KEY sid_ip_unique (ip_addr, subnetId),
    KEY subnetid (subnetId)
) ENGINE = InnoDB;

CREATE TABLE settings (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    updateTags TINYINT(1) DEFAULT 0,
    pingStatus VARCHAR(32) NOT NULL DEFAULT '1800;3600'
) ENGINE = InnoDB;
INSERT INTO settings (id) VALUES (1);

CREATE TABLE ipTags (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    type VARCHAR(32),
    updateTag TINYINT(1) DEFAULT 0
) ENGINE = InnoDB;
INSERT INTO ipTags VALUES (1, 'Offline', 1), (2, 'Used', 1), (3, 'Reserved', 1), (4, 'DHCP', 1);

CREATE TABLE api (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    app_id VARCHAR(32) NOT NULL DEFAULT '',
    app_last_access DATETIME
) ENGINE = InnoDB;
INSERT INTO api (id) VALUES (1);
