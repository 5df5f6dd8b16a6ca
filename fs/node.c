/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the numbering of the tree. A node id is
 *
 *     63..60 kind, 59..32 slot, 31..0 entry      what belongs to a version
 *     63..60 kind, 59..0  running number         a name in the table
 *     a small number                             the names that are always there
 *
 * Invariant: a name in the table has one id for as long as the kernel holds a look-up of it, and
 * the table holds nothing else, so its size is bounded by the kernel's own memory of names.
 */
#include "fs/node.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KIND_SHIFT 60
#define SLOT_SHIFT 32
#define SLOT_MASK 0x0fffffffull
#define NUMBER_MASK 0x0fffffffffffffffull
#define BUCKETS_MIN 256u

struct name {
	struct name *next_by_id, *next_by_text;
	uint64_t id;
	uint64_t lookups;
	uint64_t hash;
	enum place place;
	bool is_retired; /* in by_id only */
	char text[];
};

struct node_table {
	pthread_mutex_t lock;
	struct name **by_id, **by_text;
	size_t bucket_count; /* a power of two */
	size_t count;
	uint64_t last_number;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t hash_text(uint64_t seed, const char *text)
{
	uint64_t hash = 0xcbf29ce484222325ull ^ mix(seed + 1);

	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		hash = (hash ^ *p) * 0x100000001b3ull;
	return mix(hash);
}

struct node_table *node_table_new(void)
{
	struct node_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	pthread_mutex_init(&table->lock, NULL);
	table->bucket_count = BUCKETS_MIN;
	table->by_id = calloc(BUCKETS_MIN, sizeof(*table->by_id));
	table->by_text = calloc(BUCKETS_MIN, sizeof(*table->by_text));
	if (!table->by_id || !table->by_text) {
		node_table_free(table);
		return NULL;
	}
	return table;
}

void node_table_free(struct node_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; table->by_id && i < table->bucket_count; i++) {
		struct name *name = table->by_id[i];

		while (name) {
			struct name *next = name->next_by_id;

			free(name);
			name = next;
		}
	}
	free(table->by_id);
	free(table->by_text);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

static void link_name(struct name **by_id, struct name **by_text, size_t buckets, struct name *name)
{
	struct name **id_bucket = &by_id[name->id & (buckets - 1)];
	struct name **text_bucket = &by_text[name->hash & (buckets - 1)];

	name->next_by_id = *id_bucket;
	*id_bucket = name;
	if (name->is_retired)
		return;
	name->next_by_text = *text_bucket;
	*text_bucket = name;
}

/* Doubles the buckets; without memory the chains just get longer. */
static void grow(struct node_table *table)
{
	size_t buckets = table->bucket_count * 2;
	struct name **by_id = calloc(buckets, sizeof(*by_id));
	struct name **by_text = calloc(buckets, sizeof(*by_text));

	if (!by_id || !by_text) {
		free(by_id);
		free(by_text);
		return;
	}
	for (size_t i = 0; i < table->bucket_count; i++) {
		struct name *name = table->by_id[i];

		while (name) {
			struct name *next = name->next_by_id;

			link_name(by_id, by_text, buckets, name);
			name = next;
		}
	}
	free(table->by_id);
	free(table->by_text);
	table->by_id = by_id;
	table->by_text = by_text;
	table->bucket_count = buckets;
}

uint64_t node_of_entry(uint32_t slot, uint32_t entry)
{
	return (uint64_t)NODE_ENTRY << KIND_SHIFT | (slot & SLOT_MASK) << SLOT_SHIFT | entry;
}

uint64_t node_of_archive(uint32_t slot)
{
	return (uint64_t)NODE_ARCHIVE << KIND_SHIFT | (slot & SLOT_MASK) << SLOT_SHIFT;
}

uint64_t node_of_index(uint32_t slot)
{
	return (uint64_t)NODE_INDEX << KIND_SHIFT | (slot & SLOT_MASK) << SLOT_SHIFT;
}

static struct name *find_text(struct node_table *table, enum place place, uint64_t hash,
			      const char *text)
{
	struct name *name = table->by_text[hash & (table->bucket_count - 1)];

	while (name &&
	       (name->hash != hash || name->place != place || strcmp(name->text, text) != 0))
		name = name->next_by_text;
	return name;
}

static struct name *add_text(struct node_table *table, enum place place, uint64_t hash,
			     const char *text)
{
	size_t length = strlen(text);
	struct name *name;

	if (length > NODE_TEXT_MAX)
		return NULL;
	if (table->count >= table->bucket_count)
		grow(table);
	name = calloc(1, sizeof(*name) + length + 1);
	if (!name)
		return NULL;
	memcpy(name->text, text, length + 1);
	name->place = place;
	name->hash = hash;
	name->id = (uint64_t)NODE_NAMED << KIND_SHIFT | (++table->last_number & NUMBER_MASK);
	link_name(table->by_id, table->by_text, table->bucket_count, name);
	table->count++;
	return name;
}

uint64_t node_get(struct node_table *table, enum place place, const char *text)
{
	uint64_t hash = hash_text(place, text), id = 0;
	struct name *name;

	pthread_mutex_lock(&table->lock);
	name = find_text(table, place, hash, text);
	if (!name)
		name = add_text(table, place, hash, text);
	if (name) {
		name->lookups++;
		id = name->id;
	}
	pthread_mutex_unlock(&table->lock);
	return id;
}

static struct name *find_id(struct node_table *table, uint64_t id)
{
	struct name *name = table->by_id[id & (table->bucket_count - 1)];

	while (name && name->id != id)
		name = name->next_by_id;
	return name;
}

static void unlink_text(struct node_table *table, const struct name *name)
{
	struct name **at = &table->by_text[name->hash & (table->bucket_count - 1)];

	while (*at && *at != name)
		at = &(*at)->next_by_text;
	if (*at)
		*at = name->next_by_text;
}

void node_retire(struct node_table *table, enum place place, const char *text)
{
	struct name *name;

	pthread_mutex_lock(&table->lock);
	name = find_text(table, place, hash_text(place, text), text);
	if (name) {
		unlink_text(table, name);
		name->is_retired = true;
	}
	pthread_mutex_unlock(&table->lock);
}

static void drop(struct node_table *table, struct name *name)
{
	struct name **at = &table->by_id[name->id & (table->bucket_count - 1)];

	while (*at != name)
		at = &(*at)->next_by_id;
	*at = name->next_by_id;
	unlink_text(table, name);
	table->count--;
	free(name);
}

void node_forget(struct node_table *table, uint64_t id, uint64_t count)
{
	struct name *name;

	if (id >> KIND_SHIFT != NODE_NAMED)
		return;
	pthread_mutex_lock(&table->lock);
	name = find_id(table, id);
	if (name) {
		name->lookups -= count < name->lookups ? count : name->lookups;
		if (name->lookups == 0)
			drop(table, name);
	}
	pthread_mutex_unlock(&table->lock);
}

static void resolve_name(struct node_table *table, uint64_t id, struct node *ret_node)
{
	struct name *name;

	pthread_mutex_lock(&table->lock);
	name = find_id(table, id);
	if (name) {
		ret_node->kind = NODE_NAMED;
		ret_node->place = name->place;
		strcpy(ret_node->name, name->text);
	}
	pthread_mutex_unlock(&table->lock);
}

void node_resolve(struct node_table *table, uint64_t id, struct node *ret_node)
{
	uint64_t kind = id >> KIND_SHIFT;

	ret_node->kind = NODE_INVALID;
	ret_node->slot = (uint32_t)(id >> SLOT_SHIFT & SLOT_MASK);
	ret_node->entry = (uint32_t)id;
	ret_node->name[0] = '\0';
	if (kind == NODE_FIXED && id >= FIXED_ROOT && id < FIXED_END) {
		ret_node->kind = NODE_FIXED;
		ret_node->fixed = (enum node_fixed)id;
	} else if (kind == NODE_ENTRY || kind == NODE_ARCHIVE || kind == NODE_INDEX) {
		ret_node->kind = (enum node_kind)kind;
	} else if (kind == NODE_NAMED) {
		resolve_name(table, id, ret_node);
	}
}

size_t node_table_count(struct node_table *table)
{
	size_t count;

	pthread_mutex_lock(&table->lock);
	count = table->count;
	pthread_mutex_unlock(&table->lock);
	return count;
}

/* Keeps clear of the numbers that mean something to tools. */
static uint64_t seemly(uint64_t inode)
{
	return inode > 0xff ? inode : inode + 0x100;
}

static uint64_t inode_in_version(const struct digest *version, enum node_kind kind, uint32_t entry)
{
	uint64_t seed = 0;

	for (size_t i = 0; i < sizeof(seed); i++)
		seed = seed << 8 | version->bytes[i];
	return seemly(mix(seed ^ mix((uint64_t)kind << KIND_SHIFT | entry)));
}

uint64_t inode_of_entry(const struct digest *version, uint32_t entry)
{
	return inode_in_version(version, NODE_ENTRY, entry);
}

uint64_t inode_of_archive(const struct digest *version)
{
	return inode_in_version(version, NODE_ARCHIVE, 0);
}

uint64_t inode_of_index(const struct digest *version)
{
	return inode_in_version(version, NODE_INDEX, 0);
}

uint64_t inode_of_fixed(enum node_fixed fixed)
{
	return fixed == FIXED_ROOT ? 1 : seemly(mix(fixed));
}

uint64_t inode_of_name(enum place place, const char *name)
{
	return seemly(hash_text(place, name));
}
