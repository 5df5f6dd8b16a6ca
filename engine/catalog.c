/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types, their versions and their routes, in memory.
 *
 * Owns: the table of types, the table of versions by type and digest, the table by slot. `table_lock`
 * guards all three and is held for a look-up or an insertion only. The striped change locks order
 * changes of one type; a thread that holds one may take table_lock, never the other way round.
 * Invariant: each published version is in all three tables, with one reference of the catalog's own.
 */
#include "engine/catalog.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STRIPES 64

struct type {
	char name[TYPE_MAX + 1];
	struct version **versions; /* in no order */
	size_t count, room;
	bool is_routed;
	struct digest route;
	int64_t routed_ns;
	int64_t changed_ns;
};

struct catalog {
	pthread_rwlock_t table_lock;
	struct type **types; /* sorted by name; a type stays for the mount once it was seen */
	size_t type_count, type_room;
	struct version **buckets;
	size_t bucket_count, version_count;
	struct version **slots; /* by slot number; [0] unused */
	size_t slot_count, slot_room;
	int64_t changed_ns;
	void (*gone)(void *context, struct version *version);
	void *gone_context;
	pthread_mutex_t stripes[STRIPES];
};

struct catalog *catalog_new(void (*gone)(void *context, struct version *version), void *context)
{
	struct catalog *catalog = calloc(1, sizeof(*catalog));
	pthread_rwlockattr_t attributes;

	if (!catalog)
		return NULL;
	/* A stream of look-ups must not keep a finished deploy from being published. */
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&catalog->table_lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&catalog->stripes[i], NULL);
	catalog->bucket_count = 1024;
	catalog->buckets = calloc(catalog->bucket_count, sizeof(*catalog->buckets));
	catalog->slot_count = 1;
	catalog->gone = gone;
	catalog->gone_context = context;
	if (!catalog->buckets) {
		catalog_free(catalog);
		return NULL;
	}
	return catalog;
}

void catalog_free(struct catalog *catalog)
{
	if (!catalog)
		return;
	for (size_t i = 0; i < catalog->slot_count && catalog->slots; i++)
		version_put(catalog->slots[i]);
	for (size_t i = 0; i < catalog->type_count; i++) {
		free(catalog->types[i]->versions);
		free(catalog->types[i]);
	}
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&catalog->stripes[i]);
	pthread_rwlock_destroy(&catalog->table_lock);
	free(catalog->types);
	free(catalog->buckets);
	free(catalog->slots);
	free(catalog);
}

struct version *version_new(void)
{
	struct version *version = calloc(1, sizeof(*version));

	if (version)
		atomic_init(&version->references, 1);
	return version;
}

void version_free(struct version *version)
{
	free(version);
}

void version_from_row(struct version *version, const struct version_row *row)
{
	version->entries = row->entries;
	version->bytes = row->bytes;
	version->index_bytes = row->index_bytes;
	version->first_ns = row->first_ns;
	version->uid = row->uid;
	version->has_signature = row->has_signature;
	version->signature = row->signature;
	version->signature_bytes = row->signature_bytes;
	atomic_init(&version->last_ns, row->last_ns);
	atomic_init(&version->deployed, row->deployed);
	atomic_init(&version->changed, row->changed);
}

struct version *version_get(struct version *version)
{
	atomic_fetch_add(&version->references, 1);
	return version;
}

void version_put(struct version *version)
{
	if (!version || atomic_fetch_sub(&version->references, 1) != 1)
		return;
	if (version->catalog)
		version->catalog->gone(version->catalog->gone_context, version);
	else
		version_free(version);
}

static uint64_t hash_name(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return hash;
}

static size_t bucket_of(const struct catalog *catalog, const struct digest *digest)
{
	uint64_t head;

	memcpy(&head, digest->bytes, sizeof(head));
	return (size_t)(head % catalog->bucket_count);
}

/* The position of `name`, or where it would have to be. */
static size_t type_position(const struct catalog *catalog, const char *name, bool *ret_found)
{
	size_t low = 0, high = catalog->type_count;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(catalog->types[middle]->name, name);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct type *find_type(const struct catalog *catalog, const char *name)
{
	bool found;
	size_t position = type_position(catalog, name, &found);

	return found ? catalog->types[position] : NULL;
}

/* The array of pointers with room for one more, perhaps moved; NULL without memory. */
static void *grown(void *array, size_t count, size_t *room)
{
	size_t wanted = *room ? *room * 2 : 16;

	if (count < *room)
		return array;
	array = realloc(array, wanted * sizeof(void *));
	if (array)
		*room = wanted;
	return array;
}

static struct type *make_type(struct catalog *catalog, const char *name)
{
	bool found;
	size_t position = type_position(catalog, name, &found);
	struct type *type, **types;

	if (found)
		return catalog->types[position];
	types = grown(catalog->types, catalog->type_count, &catalog->type_room);
	if (!types)
		return NULL;
	catalog->types = types;
	type = calloc(1, sizeof(*type));
	if (!type)
		return NULL;
	strncpy(type->name, name, TYPE_MAX);
	memmove(catalog->types + position + 1, catalog->types + position,
		(catalog->type_count - position) * sizeof(*catalog->types));
	catalog->types[position] = type;
	catalog->type_count++;
	return type;
}

static struct version *find_version(const struct catalog *catalog, const char *type,
				    const struct digest *digest)
{
	struct version *version = catalog->buckets[bucket_of(catalog, digest)];

	while (version &&
	       (!digest_equal(&version->digest, digest) || strcmp(version->type, type) != 0))
		version = version->chain;
	return version;
}

struct version *catalog_find(struct catalog *catalog, const char *type, const struct digest *digest)
{
	struct version *version;

	pthread_rwlock_rdlock(&catalog->table_lock);
	version = find_version(catalog, type, digest);
	if (version)
		version_get(version);
	pthread_rwlock_unlock(&catalog->table_lock);
	return version;
}

struct version *catalog_find_slot(struct catalog *catalog, uint32_t slot)
{
	struct version *version = NULL;

	pthread_rwlock_rdlock(&catalog->table_lock);
	if (slot > 0 && slot < catalog->slot_count && catalog->slots[slot])
		version = version_get(catalog->slots[slot]);
	pthread_rwlock_unlock(&catalog->table_lock);
	return version;
}

int catalog_route(struct catalog *catalog, const char *type_name, struct digest *ret_digest)
{
	struct type *type;
	int error = -ENOENT;

	pthread_rwlock_rdlock(&catalog->table_lock);
	type = find_type(catalog, type_name);
	if (type && type->is_routed) {
		*ret_digest = type->route;
		error = 0;
	}
	pthread_rwlock_unlock(&catalog->table_lock);
	return error;
}

bool catalog_has_type(struct catalog *catalog, const char *type_name)
{
	struct type *type;
	bool has;

	pthread_rwlock_rdlock(&catalog->table_lock);
	type = find_type(catalog, type_name);
	has = type && type->count > 0;
	pthread_rwlock_unlock(&catalog->table_lock);
	return has;
}

static int list_types(struct catalog *catalog, bool routed, struct name_list *ret_list)
{
	int error = 0;

	*ret_list = (struct name_list){0};
	pthread_rwlock_rdlock(&catalog->table_lock);
	ret_list->names = malloc((catalog->type_count + 1) * sizeof(*ret_list->names));
	if (!ret_list->names)
		error = -ENOMEM;
	for (size_t i = 0; !error && i < catalog->type_count; i++) {
		const struct type *type = catalog->types[i];

		if (routed ? type->is_routed : type->count > 0)
			memcpy(ret_list->names[ret_list->count++], type->name, sizeof(type->name));
	}
	pthread_rwlock_unlock(&catalog->table_lock);
	return error;
}

int catalog_list_types(struct catalog *catalog, struct name_list *ret_list)
{
	return list_types(catalog, false, ret_list);
}

int catalog_list_routes(struct catalog *catalog, struct name_list *ret_list)
{
	return list_types(catalog, true, ret_list);
}

static int by_newest(const void *left, const void *right)
{
	const struct version *a = *(struct version *const *)left;
	const struct version *b = *(struct version *const *)right;
	int order = strcmp(a->type, b->type);
	uint64_t changed_a = atomic_load(&a->changed), changed_b = atomic_load(&b->changed);

	if (order)
		return order;
	if (changed_a != changed_b)
		return changed_a < changed_b ? 1 : -1;
	return digest_compare(&a->digest, &b->digest);
}

static void take_versions(struct version_list *list, const struct type *type)
{
	for (size_t i = 0; i < type->count; i++)
		list->versions[list->count++] = version_get(type->versions[i]);
}

int catalog_list_versions(struct catalog *catalog, const char *type_name,
			  struct version_list *ret_list)
{
	struct type *type = NULL;
	size_t count;

	*ret_list = (struct version_list){0};
	pthread_rwlock_rdlock(&catalog->table_lock);
	if (type_name)
		type = find_type(catalog, type_name);
	count = type_name ? (type ? type->count : 0) : catalog->version_count;
	ret_list->versions = malloc((count + 1) * sizeof(*ret_list->versions));
	if (ret_list->versions && type)
		take_versions(ret_list, type);
	for (size_t i = 0; ret_list->versions && !type_name && i < catalog->type_count; i++)
		take_versions(ret_list, catalog->types[i]);
	pthread_rwlock_unlock(&catalog->table_lock);
	if (!ret_list->versions)
		return -ENOMEM;
	qsort(ret_list->versions, ret_list->count, sizeof(*ret_list->versions), by_newest);
	return 0;
}

void catalog_list_free(struct version_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		version_put(list->versions[i]);
	free(list->versions);
	*list = (struct version_list){0};
}

struct version *catalog_find_prefix(struct catalog *catalog, const char *type_name,
				    const char *prefix, int *ret_error)
{
	struct version *match = NULL;
	size_t length = strlen(prefix);
	struct type *type;
	bool several = false;

	pthread_rwlock_rdlock(&catalog->table_lock);
	type = find_type(catalog, type_name);
	for (size_t i = 0; type && i < type->count; i++) {
		if (strncmp(type->versions[i]->hex, prefix, length) != 0)
			continue;
		several = match != NULL;
		match = type->versions[i];
		if (several)
			break;
	}
	if (several)
		match = NULL;
	if (match)
		version_get(match);
	pthread_rwlock_unlock(&catalog->table_lock);
	*ret_error = match ? 0 : several ? -EINVAL : -ENOENT;
	return match;
}

bool catalog_has_elsewhere(struct catalog *catalog, const char *type, const struct digest *digest)
{
	struct version *version;

	pthread_rwlock_rdlock(&catalog->table_lock);
	version = catalog->buckets[bucket_of(catalog, digest)];
	while (version &&
	       (!digest_equal(&version->digest, digest) || strcmp(version->type, type) == 0))
		version = version->chain;
	pthread_rwlock_unlock(&catalog->table_lock);
	return version != NULL;
}

void catalog_count(struct catalog *catalog, struct catalog_counts *ret_counts)
{
	*ret_counts = (struct catalog_counts){0};
	pthread_rwlock_rdlock(&catalog->table_lock);
	ret_counts->versions = catalog->version_count;
	for (size_t i = 0; i < catalog->type_count; i++) {
		ret_counts->types += catalog->types[i]->count > 0;
		ret_counts->routes += catalog->types[i]->is_routed;
	}
	pthread_rwlock_unlock(&catalog->table_lock);
}

int64_t catalog_changed_ns(struct catalog *catalog)
{
	int64_t changed_ns;

	pthread_rwlock_rdlock(&catalog->table_lock);
	changed_ns = catalog->changed_ns;
	pthread_rwlock_unlock(&catalog->table_lock);
	return changed_ns;
}

int64_t catalog_type_changed_ns(struct catalog *catalog, const char *type_name)
{
	struct type *type;
	int64_t changed_ns;

	pthread_rwlock_rdlock(&catalog->table_lock);
	type = find_type(catalog, type_name);
	changed_ns = type ? type->changed_ns : 0;
	pthread_rwlock_unlock(&catalog->table_lock);
	return changed_ns;
}

int64_t catalog_route_changed_ns(struct catalog *catalog, const char *type_name)
{
	struct type *type;
	int64_t routed_ns;

	pthread_rwlock_rdlock(&catalog->table_lock);
	type = find_type(catalog, type_name);
	routed_ns = type && type->is_routed ? type->routed_ns : 0;
	pthread_rwlock_unlock(&catalog->table_lock);
	return routed_ns;
}

static void touch(struct catalog *catalog, struct type *type, int64_t at_ns)
{
	if (type && at_ns > type->changed_ns)
		type->changed_ns = at_ns;
	if (at_ns > catalog->changed_ns)
		catalog->changed_ns = at_ns;
}

/* Twice the buckets when chains grow; without memory the old table goes on, only slower. */
static void rehash(struct catalog *catalog)
{
	size_t old_count = catalog->bucket_count;
	struct version **old = catalog->buckets, **buckets;

	if (catalog->version_count < old_count)
		return;
	buckets = calloc(old_count * 2, sizeof(*buckets));
	if (!buckets)
		return;
	catalog->buckets = buckets;
	catalog->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		struct version *version = old[i], *next;

		for (; version; version = next) {
			size_t bucket = bucket_of(catalog, &version->digest);

			next = version->chain;
			version->chain = buckets[bucket];
			buckets[bucket] = version;
		}
	}
	free(old);
}

static int insert(struct catalog *catalog, struct version *version)
{
	struct type *type = make_type(catalog, version->type);
	struct version **versions, **slots;
	size_t bucket;

	if (!type)
		return -ENOMEM;
	versions = grown(type->versions, type->count, &type->room);
	if (!versions)
		return -ENOMEM;
	type->versions = versions;
	slots = grown(catalog->slots, catalog->slot_count, &catalog->slot_room);
	if (!slots)
		return -ENOMEM;
	catalog->slots = slots;
	slots[0] = NULL;
	rehash(catalog);
	version->catalog = catalog;
	version->slot = (uint32_t)catalog->slot_count;
	catalog->slots[catalog->slot_count++] = version;
	type->versions[type->count++] = version;
	bucket = bucket_of(catalog, &version->digest);
	version->chain = catalog->buckets[bucket];
	catalog->buckets[bucket] = version;
	catalog->version_count++;
	touch(catalog, type, atomic_load(&version->last_ns));
	return 0;
}

int catalog_add(struct catalog *catalog, struct version *version)
{
	int error;

	pthread_rwlock_wrlock(&catalog->table_lock);
	error = insert(catalog, version);
	pthread_rwlock_unlock(&catalog->table_lock);
	return error;
}

static void take_out(struct catalog *catalog, struct version *version)
{
	struct version **link = &catalog->buckets[bucket_of(catalog, &version->digest)];
	struct type *type = find_type(catalog, version->type);

	while (*link != version)
		link = &(*link)->chain;
	*link = version->chain;
	version->chain = NULL;
	catalog->slots[version->slot] = NULL;
	for (size_t i = 0; i < type->count; i++) {
		if (type->versions[i] == version) {
			type->versions[i] = type->versions[--type->count];
			break;
		}
	}
	catalog->version_count--;
}

void catalog_remove(struct catalog *catalog, struct version *version, int64_t at_ns)
{
	pthread_rwlock_wrlock(&catalog->table_lock);
	take_out(catalog, version);
	touch(catalog, find_type(catalog, version->type), at_ns);
	pthread_rwlock_unlock(&catalog->table_lock);
	version_put(version);
}

int catalog_set_route(struct catalog *catalog, const char *type_name, const struct digest *digest,
		      int64_t at_ns)
{
	struct type *type;

	pthread_rwlock_wrlock(&catalog->table_lock);
	type = make_type(catalog, type_name);
	if (type) {
		type->is_routed = true;
		type->route = *digest;
		type->routed_ns = at_ns;
		touch(catalog, NULL, at_ns);
	}
	pthread_rwlock_unlock(&catalog->table_lock);
	return type ? 0 : -ENOMEM;
}

void catalog_remove_route(struct catalog *catalog, const char *type_name, int64_t at_ns)
{
	struct type *type;

	pthread_rwlock_wrlock(&catalog->table_lock);
	type = find_type(catalog, type_name);
	if (type)
		type->is_routed = false;
	touch(catalog, NULL, at_ns);
	pthread_rwlock_unlock(&catalog->table_lock);
}

void catalog_lock_type(struct catalog *catalog, const char *type)
{
	pthread_mutex_lock(&catalog->stripes[hash_name(type) % STRIPES]);
}

void catalog_unlock_type(struct catalog *catalog, const char *type)
{
	pthread_mutex_unlock(&catalog->stripes[hash_name(type) % STRIPES]);
}
