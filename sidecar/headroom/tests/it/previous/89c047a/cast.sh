signals=97
accounts=(acme globex initech hooli walk-in umbrella vandelay kramerica wayne stark wonka tyrell soylent initrode)
