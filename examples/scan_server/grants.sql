-- What the Scan Server needs of phpIPAM's database, and no more: it reads no password, no user, no setting.
-- Put a password in, then: mariadb < grants.sql
-- Where the Scan Server runs on another machine, its name or address takes the place of localhost; where the
-- database server does not resolve names (skip_name_resolve), so does 127.0.0.1.
CREATE USER 'scan_server'@'localhost' IDENTIFIED BY 'CHANGE-ME';

GRANT SELECT (id, code), UPDATE (last_access)
    ON phpipam.scanAgents TO 'scan_server'@'localhost';

GRANT SELECT (id, subnet, mask, scanAgent, discoverSubnet, pingSubnet, lastDiscovery, lastScan),
      UPDATE (lastDiscovery, lastScan)
    ON phpipam.subnets TO 'scan_server'@'localhost';

GRANT SELECT (id, subnetId, ip_addr, hostname, mac, lastSeen),
      INSERT (subnetId, ip_addr, hostname, mac, lastSeen, description, note, state),
      UPDATE (hostname, mac, lastSeen)
    ON phpipam.ipaddresses TO 'scan_server'@'localhost';
