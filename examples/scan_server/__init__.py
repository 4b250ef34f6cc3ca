"""A Scan Server: takes the reports of scan agents and writes them into phpIPAM's database."""
