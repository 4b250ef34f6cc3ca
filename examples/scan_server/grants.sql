-- What the Scan Server needs of phpIPAM's database, and no more. Put a password in, then, with the name of phpIPAM's
-- database: mariadb phpipam < grants.sql
-- It may be run again, to change the password or after an update. Where the Scan Server runs on another machine, its
-- name or address takes the place of localhost; where the database server does not resolve names
-- (skip_name_resolve), so does 127.0.0.1.
CREATE USER IF NOT EXISTS 'scan_server'@'localhost';
ALTER USER 'scan_server'@'localhost' IDENTIFIED BY 'CHANGE-ME';

GRANT SELECT (id, code), UPDATE (last_access)
    ON scanAgents TO 'scan_server'@'localhost';

GRANT SELECT (id, subnet, mask, scanAgent, discoverSubnet, pingSubnet, lastDiscovery, lastScan),
      UPDATE (lastDiscovery, lastScan)
    ON subnets TO 'scan_server'@'localhost';

GRANT SELECT (id, subnetId, ip_addr, hostname, mac, lastSeen, excludePing),
      INSERT (subnetId, ip_addr, hostname, mac, lastSeen, description, note, state),
      UPDATE (hostname, mac, lastSeen)
    ON ipaddresses TO 'scan_server'@'localhost';

-- For the tags Used and Offline; without these, tags stay as they are.
GRANT SELECT (state), UPDATE (state) ON ipaddresses TO 'scan_server'@'localhost';
GRANT SELECT (updateTags, pingStatus) ON settings TO 'scan_server'@'localhost';
GRANT SELECT (id, updateTag) ON ipTags TO 'scan_server'@'localhost';

-- To find PHP's time zone; without this, it is UTC unless it is set.
GRANT SELECT (app_last_access) ON api TO 'scan_server'@'localhost';
