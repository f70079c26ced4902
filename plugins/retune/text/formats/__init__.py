"""Writers to the formats of those who train, and the limits that they publish."""
