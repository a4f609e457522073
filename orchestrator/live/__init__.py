"""The live page: `warmgrid serve` shows what a store holds, while a sweep runs or after; it reads the store only."""
