signals=34
accounts=(acme globex initech hooli walk-in umbrella vandelay kramerica)
