/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DIGEST_MAP_H
#define STORE_DIGEST_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"

/*
 * A map from digests to small numbers, in memory: open addressing, linear probing, at most half
 * full. Digests are evenly spread by themselves, so their first bytes are the hash. A zeroed map
 * is empty. Not locked.
 */
struct digest_map {
	struct digest *keys;
	uint8_t *values; /* 0: the place is free */
	size_t count, places;
};

/* Returns the value, 0 if there is none. */
uint8_t digest_map_get(const struct digest_map *map, const struct digest *key);

/* Sets a value that is not 0. Returns -ENOMEM; the map is then unchanged. */
int digest_map_set(struct digest_map *map, const struct digest *key, uint8_t value);

/* Forgets a key; an absent one is fine. */
void digest_map_remove(struct digest_map *map, const struct digest *key);

/* Frees what the map holds and empties it. */
void digest_map_clear(struct digest_map *map);

#endif
