signals=22
accounts=(acme globex initech hooli walk-in umbrella)
