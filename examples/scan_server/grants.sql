-- The rights of the Scan Server in phpIPAM's database. Set a password, then run it with the name of phpIPAM's database:
-- mariadb phpipam < grants.sql
-- It may be run again, to change the password or after an update. If the Scan Server runs on another machine, replace
-- localhost by the name or address of that machine; if the database server does not resolve names (skip_name_resolve),
-- replace localhost by 127.0.0.1.
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

-- For the tags Used and Offline; without these rights, tags do not change.
GRANT SELECT (state), UPDATE (state) ON ipaddresses TO 'scan_server'@'localhost';
GRANT SELECT (updateTags, pingStatus) ON settings TO 'scan_server'@'localhost';
GRANT SELECT (id, updateTag) ON ipTags TO 'scan_server'@'localhost';

-- To detect PHP's time zone; without this right, it is UTC unless `timezone` is set.
GRANT SELECT (app_last_access) ON api TO 'scan_server'@'localhost';
