"""Token shards in, trained GPT-NeoX-type models out. torch is imported in this package only."""
