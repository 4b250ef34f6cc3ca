-- Three tables with the names, types, defaults and keys that phpIPAM 1.8 gives their columns.
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
