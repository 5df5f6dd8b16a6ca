/* SPDX-License-Identifier: Apache-2.0 */
/* Digests in memory. Invariant: from a key's own place to where it lies no place is free. */
#include "store/digest_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_MIN 64

static size_t home(const struct digest_map *map, const struct digest *key)
{
	uint64_t hash;

	memcpy(&hash, key->bytes, sizeof(hash));
	return (size_t)hash & (map->places - 1);
}

/* The place where the key lies, or would. */
static size_t find(const struct digest_map *map, const struct digest *key)
{
	size_t place = home(map, key);

	while (map->values[place] && !digest_equal(&map->keys[place], key))
		place = (place + 1) & (map->places - 1);
	return place;
}

uint8_t digest_map_get(const struct digest_map *map, const struct digest *key)
{
	return map->places ? map->values[find(map, key)] : 0;
}

static int grow(struct digest_map *map)
{
	struct digest_map larger = {.places = map->places ? 2 * map->places : PLACES_MIN};

	larger.keys = calloc(larger.places, sizeof(*larger.keys));
	larger.values = calloc(larger.places, sizeof(*larger.values));
	if (!larger.keys || !larger.values) {
		digest_map_clear(&larger);
		return -ENOMEM;
	}
	for (size_t i = 0; i < map->places; i++) {
		size_t place;

		if (!map->values[i])
			continue;
		place = find(&larger, &map->keys[i]);
		larger.keys[place] = map->keys[i];
		larger.values[place] = map->values[i];
	}
	larger.count = map->count;
	digest_map_clear(map);
	*map = larger;
	return 0;
}

int digest_map_set(struct digest_map *map, const struct digest *key, uint8_t value)
{
	size_t place;

	if (2 * (map->count + 1) > map->places) {
		int error = grow(map);

		if (error)
			return error;
	}
	place = find(map, key);
	map->count += map->values[place] == 0;
	map->keys[place] = *key;
	map->values[place] = value;
	return 0;
}

/* Takes a key out and moves up those that its place kept from their own. */
void digest_map_remove(struct digest_map *map, const struct digest *key)
{
	size_t mask = map->places - 1, gap, place;

	if (!map->places)
		return;
	gap = find(map, key);
	if (!map->values[gap])
		return;
	map->count--;
	for (place = (gap + 1) & mask; map->values[place]; place = (place + 1) & mask) {
		size_t distance = (place - home(map, &map->keys[place])) & mask;

		if (distance < ((place - gap) & mask))
			continue;
		map->keys[gap] = map->keys[place];
		map->values[gap] = map->values[place];
		gap = place;
	}
	map->values[gap] = 0;
}

void digest_map_clear(struct digest_map *map)
{
	free(map->keys);
	free(map->values);
	*map = (struct digest_map){0};
}
