/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the entries of an archive to a finished package, or a refusal.
 *
 * Owns: the table of entries, the arena that their names live in, and (engine/admit_bodies.c) the
 * bytes of the few files that may turn out to be the manifest or the signature. Names are judged
 * as they come; duplicates, parents and links when all is there, since only then it is known what
 * is stripped. Work and memory grow with the bytes of the names, never with their square.
 */
#include "engine/admit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/admit_bodies.h"
#include "engine/admit_table.h"
#include "engine/index.h"

#define CHUNK_BYTES (64u * 1024)

struct chunk {
	struct chunk *next;
	size_t used;
	char bytes[CHUNK_BYTES];
};

/* Where manifest.json and manifest.sig may stand: at the root, or in the one top directory. */
enum {
	PLACE_ROOT,
	PLACE_TOP,
	PLACES,
};

struct admit {
	struct admit_table table;
	struct chunk *chunks;
	uint64_t entries_max;
	uint64_t name_bytes; /* of all paths and targets, as they will stand in the index */
	const char *top; /* the first entry's first component */
	size_t top_length;
	bool has_one_top; /* all entries lie in it */
	bool has_manifest[PLACES], has_signature[PLACES]; /* one came by already */
	struct admit_bodies bodies;
	bool last_is_root; /* the last entry was the root itself: nothing was added */
};

struct admit *admit_new(uint64_t entries_max)
{
	struct admit *admit = calloc(1, sizeof(*admit));

	if (!admit)
		return NULL;
	admit->entries_max = entries_max < UINT32_MAX / 4 ? entries_max : UINT32_MAX / 4;
	admit->has_one_top = true;
	admit_bodies_open(&admit->bodies);
	if (getrandom(&admit->table.seed, sizeof(admit->table.seed), 0) < 0)
		admit->table.seed = (uint64_t)(uintptr_t)admit;
	return admit;
}

void admit_free(struct admit *admit)
{
	if (!admit)
		return;
	while (admit->chunks) {
		struct chunk *next = admit->chunks->next;

		free(admit->chunks);
		admit->chunks = next;
	}
	admit_bodies_close(&admit->bodies);
	free(admit->table.items);
	free(admit->table.slots);
	free(admit);
}

/* ---- collecting ---- */

static char *arena_take(struct admit *admit, size_t length)
{
	struct chunk *chunk = admit->chunks;
	char *bytes;

	if (!chunk || CHUNK_BYTES - chunk->used < length) {
		chunk = malloc(sizeof(*chunk));
		if (!chunk)
			return NULL;
		chunk->next = admit->chunks;
		chunk->used = 0;
		admit->chunks = chunk;
	}
	bytes = chunk->bytes + chunk->used;
	chunk->used += length;
	return bytes;
}

static int refuse_name(struct reason *reason, const char *code, const char *path, size_t length,
		       const char *what)
{
	return admit_refuse(reason, EINVAL, code, path, length, what);
}

/*
 * Both limits bound memory: the second one because a path of 2,048 names implies as many parents,
 * whose paths come to 4 MiB in the index.
 */
static int check_limits(struct admit *admit, size_t name_bytes, struct reason *reason)
{
	if (admit->table.count >= admit->entries_max)
		return reason_set(reason, EFBIG, "too_many_entries",
				  "the package has more than max_entries=%llu entries",
				  (unsigned long long)admit->entries_max);
	admit->name_bytes += name_bytes;
	if (admit->name_bytes > ADMIT_NAME_BYTES_MAX)
		return reason_set(reason, EFBIG, "too_many_entries",
				  "the paths and link targets of the package, with the "
				  "directories on the way, add up to more than %u MiB",
				  ADMIT_NAME_BYTES_MAX / (1024 * 1024));
	return 0;
}

/* Adds a zeroed item, whose path and target will have so many bytes. */
static int add_item(struct admit *admit, size_t name_bytes, struct admit_item **ret_item,
		    struct reason *reason)
{
	struct admit_table *table = &admit->table;
	int error = check_limits(admit, name_bytes, reason);

	if (error)
		return error;
	if (table->count == table->room) {
		uint32_t wanted = table->room ? table->room * 2 : 64;
		struct admit_item *larger = realloc(table->items, wanted * sizeof(*larger));

		if (!larger)
			return reason_set(reason, ENOMEM, "store_failed", "no memory left");
		table->items = larger;
		table->room = wanted;
	}
	*ret_item = &table->items[table->count++];
	**ret_item = (struct admit_item){0};
	return 0;
}

static bool is_name(const char *path, size_t length, const char *name)
{
	return length == strlen(name) && memcmp(path, name, length) == 0;
}

/* Whether a path is that of a manifest or a signature. Only the first of each name counts. */
static bool is_special(struct admit *admit, const struct admit_item *item)
{
	const char *slash = memchr(item->path, '/', item->path_length);
	size_t skip = slash ? (size_t)(slash - item->path) + 1 : 0;
	const char *name = item->path + skip;
	size_t length = item->path_length - skip;
	int place = slash ? PLACE_TOP : PLACE_ROOT;
	bool *has = NULL;

	if (slash && !admit->has_one_top)
		return false;
	if (is_name(name, length, "manifest.json"))
		has = &admit->has_manifest[place];
	else if (is_name(name, length, "manifest.sig"))
		has = &admit->has_signature[place];
	if (!has || *has)
		return false;
	*has = true;
	return true;
}

static void note_top(struct admit *admit, const struct admit_item *item)
{
	const char *slash = memchr(item->path, '/', item->path_length);
	size_t length = slash ? (size_t)(slash - item->path) : item->path_length;

	if (!admit->top) {
		admit->top = item->path;
		admit->top_length = length;
	} else if (length != admit->top_length || memcmp(item->path, admit->top, length) != 0) {
		admit->has_one_top = false;
	}
}

static void begin_body(struct admit *admit, const struct admit_item *item)
{
	enum body_want want = BODY_UNWANTED;

	if (item->kind == ADMIT_FILE || item->kind == ADMIT_HARDLINK)
		want = is_special(admit, item) ? BODY_WANTED : BODY_PERHAPS;
	admit_bodies_begin(&admit->bodies, want);
}

static int copy_names(struct admit *admit, struct admit_item *item, const char *path,
		      size_t path_length, const char *target, size_t target_length,
		      struct reason *reason)
{
	char *bytes = arena_take(admit, path_length + target_length + 2);

	if (!bytes)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	memcpy(bytes, path, path_length);
	bytes[path_length] = '\0';
	item->path = bytes;
	item->path_length = (uint16_t)path_length;
	bytes += path_length + 1;
	if (target_length > 0)
		memcpy(bytes, target, target_length);
	bytes[target_length] = '\0';
	item->target = bytes;
	item->target_length = (uint16_t)target_length;
	return 0;
}

static int check_symlink(const char *path, size_t path_length, const char *target,
			 size_t target_length, struct reason *reason)
{
	if (target_length == 0)
		return refuse_name(reason, "entry_unsafe", path, path_length,
				   "is a symbolic link to nothing");
	if (target_length > INDEX_PATH_MAX || memchr(target, '\0', target_length))
		return refuse_name(reason, "name_invalid", path, path_length,
				   "is a symbolic link whose target has a NUL byte or more than "
				   "4095 bytes");
	return 0;
}

static int check_kind(enum admit_kind kind, const char *path, size_t length, bool is_root,
		      struct reason *reason)
{
	bool ends_in_slash = path[length - 1] == '/';
	bool ends_in_dot = length >= 2 && path[length - 1] == '.' && path[length - 2] == '/';

	if (kind != ADMIT_DIR && (is_root || ends_in_slash || ends_in_dot))
		return refuse_name(reason, "entry_unsafe", path, length,
				   "has a directory's name, but is none");
	return 0;
}

int admit_entry(struct admit *admit, enum admit_kind kind, const char *path, size_t path_length,
		const char *target, size_t target_length, bool executable, struct reason *reason)
{
	char clean[INDEX_PATH_MAX + 1], clean_target[INDEX_PATH_MAX + 1];
	struct admit_item *item = NULL;
	size_t length = 0;
	int error = admit_normalise(path, path_length, false, clean, &length, reason);

	admit_bodies_begin(&admit->bodies, BODY_UNWANTED);
	if (!error)
		error = check_kind(kind, path, path_length, length == 0, reason);
	if (!error && kind == ADMIT_SYMLINK)
		error = check_symlink(path, path_length, target, target_length, reason);
	if (!error && kind == ADMIT_HARDLINK) {
		error = admit_normalise(target, target_length, true, clean_target, &target_length,
				  reason);
		target = clean_target;
	}
	if (error)
		return error;
	admit->last_is_root = length == 0;
	if (admit->last_is_root)
		return 0;
	if (kind == ADMIT_FILE || kind == ADMIT_DIR)
		target_length = 0;
	error = add_item(admit, length + target_length, &item, reason);
	if (error)
		return error;
	item->kind = (uint8_t)kind;
	item->executable = executable;
	error = copy_names(admit, item, clean, length, target, target_length, reason);
	if (error)
		return error;
	note_top(admit, item);
	begin_body(admit, item);
	return 0;
}

int admit_data(struct admit *admit, const void *bytes, size_t length, struct reason *reason)
{
	if (admit_bodies_add(&admit->bodies, bytes, length) != 0)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	return 0;
}

int admit_body(struct admit *admit, const struct digest *digest, uint64_t size,
	       struct reason *reason)
{
	struct admit_item *item;

	if (admit->last_is_root || admit->table.count == 0)
		return 0;
	item = &admit->table.items[admit->table.count - 1];
	item->digest = *digest;
	item->size = size;
	item->has_body = true;
	if (admit_bodies_end(&admit->bodies, digest) != 0)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	return 0;
}

/* ---- the finished tree ---- */

/* Whether TOP/manifest.json is there and everything lies in TOP. */
static bool must_strip(const struct admit *admit)
{
	const struct admit_table *table = &admit->table;
	bool has_manifest = false;

	for (uint32_t i = 0; i < table->count; i++) {
		const struct admit_item *item = &table->items[i];
		const char *slash = memchr(item->path, '/', item->path_length);

		if (is_name(item->path, item->path_length, "manifest.json"))
			return false;
		has_manifest |= slash && is_name(slash + 1, item->path_length -
						 (size_t)(slash + 1 - item->path), "manifest.json");
	}
	return admit->has_one_top && has_manifest;
}

/* Cuts "TOP/" off every path and every hard link's target; TOP itself becomes the root. */
static int strip_top(struct admit *admit, struct reason *reason)
{
	struct admit_table *table = &admit->table;
	uint16_t cut = (uint16_t)(admit->top_length + 1);

	for (uint32_t i = 0; i < table->count; i++) {
		struct admit_item *item = &table->items[i];

		if (item->path_length < cut) {
			if (item->kind != ADMIT_DIR)
				return refuse_name(reason, "entry_unsafe", item->path,
						   item->path_length,
						   "is used as a directory, but is none");
			item->path_length = 0;
			continue;
		}
		if (item->kind == ADMIT_HARDLINK) {
			if (item->target_length < cut ||
			    memcmp(item->target, item->path, cut) != 0)
				return refuse_name(reason, "entry_unsafe", item->path,
						   item->path_length,
						   "is a hard link to a name outside the package");
			item->target += cut;
			item->target_length = (uint16_t)(item->target_length - cut);
		}
		item->path += cut;
		item->path_length = (uint16_t)(item->path_length - cut);
	}
	return 0;
}

/* Enters an item into the slots. Returns 1 for a directory that is there already, -EINVAL. */
static int enter_item(struct admit_table *table, uint32_t number, struct reason *reason)
{
	const struct admit_item *item = &table->items[number];
	uint32_t slot = admit_table_slot(table, item->path, item->path_length);

	if (table->slots[slot] == UINT32_MAX) {
		table->slots[slot] = number;
		return 0;
	}
	if (item->kind == ADMIT_DIR && table->items[table->slots[slot]].kind == ADMIT_DIR)
		return 1;
	return refuse_name(reason, "entry_duplicate", item->path, item->path_length,
			   "is in the archive twice");
}

/* Enters all items; repeated directories and the root are dropped, the others move up. */
static int enter_all(struct admit *admit, struct reason *reason)
{
	struct admit_table *table = &admit->table;
	uint32_t kept = 0;
	int result = admit_table_make_slots(table, table->count);

	if (result)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	for (uint32_t i = 0; i < table->count; i++) {
		if (table->items[i].path_length == 0)
			continue;
		table->items[kept] = table->items[i];
		result = enter_item(table, kept, reason);
		if (result < 0)
			return result;
		kept += result == 0;
	}
	table->count = kept;
	return 0;
}

/* Makes the parents that the archive left out. Each new one is looked at in turn, for its own. */
static int imply_parents(struct admit *admit, struct reason *reason)
{
	struct admit_table *table = &admit->table;
	int error = 0;

	for (uint32_t i = 0; !error && i < table->count; i++) {
		const struct admit_item *item = &table->items[i];
		const char *path = item->path, *slash = memrchr(path, '/', item->path_length);
		struct admit_item *parent = NULL;
		uint32_t found;
		size_t length;

		if (!slash)
			continue;
		length = (size_t)(slash - path);
		found = admit_table_find(table, path, length);
		if (found != UINT32_MAX) {
			if (table->items[found].kind != ADMIT_DIR)
				error = refuse_name(reason, "entry_unsafe", path, length,
						    "is used as a directory, but is none");
			continue;
		}
		error = add_item(admit, length, &parent, reason);
		if (error)
			return error;
		*parent = (struct admit_item){.path = path,
					      .path_length = (uint16_t)length,
					      .target = "",
					      .kind = ADMIT_DIR};
		if (table->count > table->slot_count / 2) {
			error = admit_table_make_slots(table, table->count * 2);
			for (uint32_t k = 0; !error && k + 1 < table->count; k++)
				error = enter_item(table, k, reason);
		}
		if (!error)
			error = enter_item(table, table->count - 1, reason);
	}
	return error;
}

/* ---- manifest and signature ---- */

static int read_manifest(struct admit *admit, struct manifest *ret_manifest,
			 struct reason *reason)
{
	uint32_t number = admit_table_find(&admit->table, "manifest.json", 13);
	const struct kept_body *body;
	const struct admit_item *item;

	if (number == UINT32_MAX)
		return reason_set(reason, EINVAL, "manifest_missing",
				  "no manifest.json at the archive's root, nor inside one single "
				  "top-level directory: pack the directory that holds it");
	item = &admit->table.items[number];
	if (item->kind != ADMIT_FILE)
		return reason_set(reason, EINVAL, "manifest_invalid",
				  "manifest.json must be a regular file");
	if (item->size > MANIFEST_BYTES_MAX)
		return reason_set(reason, EINVAL, "manifest_invalid",
				  "manifest.json has more than 1 MiB");
	if (item->size == 0)
		return reason_set(reason, EINVAL, "manifest_invalid", "manifest.json is empty");
	body = admit_bodies_find(&admit->bodies, &item->digest);
	if (!body)
		return reason_set(reason, EINVAL, "manifest_invalid",
				  "manifest.json is a hard link whose bytes came under another "
				  "name: pack it as a file of its own");
	return manifest_parse(body->bytes, body->length, ret_manifest, reason);
}

/* Takes manifest.sig out of the package, if it has one; its bytes become the caller's. */
static int take_signature(struct admit *admit, struct admitted *admitted, struct reason *reason)
{
	uint32_t number = admit_table_find(&admit->table, "manifest.sig", 12);
	const struct kept_body *body = NULL;
	struct admit_item *item;

	if (number == UINT32_MAX)
		return 0;
	item = &admit->table.items[number];
	if (item->kind == ADMIT_FILE && item->size > 0)
		body = admit_bodies_find(&admit->bodies, &item->digest);
	if (item->kind != ADMIT_FILE || item->size > SIGNATURE_BYTES_MAX ||
	    (!body && item->size > 0))
		return reason_set(reason, EINVAL, "manifest_invalid",
				  "manifest.sig must be a regular file of at most 64 KiB");
	admitted->signature = malloc(item->size + 1);
	if (!admitted->signature)
		return -ENOMEM;
	if (body)
		memcpy(admitted->signature, body->bytes, body->length);
	admitted->signature_length = item->size;
	item->path_length = 0; /* the index leaves it out */
	return 0;
}

static bool find_executable(struct admit_table *table, const char *function)
{
	char path[4 + FUNCTION_MAX + 1];
	uint32_t number;

	snprintf(path, sizeof(path), "bin/%s", function);
	number = admit_resolve(table, path, strlen(path));
	return number != UINT32_MAX && table->items[number].kind == ADMIT_FILE &&
	       table->items[number].executable;
}

static int finish(struct admit *admit, struct admitted *admitted, struct reason *reason)
{
	struct admit_table *table = &admit->table;
	int error = must_strip(admit) ? strip_top(admit, reason) : 0;

	if (!error)
		error = enter_all(admit, reason);
	if (!error)
		error = imply_parents(admit, reason);
	if (!error)
		error = admit_hard_links(table, reason);
	if (!error)
		error = admit_symbolic_links(table, reason);
	if (!error)
		error = read_manifest(admit, &admitted->manifest, reason);
	if (error)
		return error;
	error = take_signature(admit, admitted, reason);
	if (error)
		return error;
	admitted->has_executable = find_executable(table, admitted->manifest.function);
	return admit_build_index(table, admitted);
}

int admit_finish(struct admit *admit, struct admitted *ret_admitted, struct reason *reason)
{
	int error;

	*ret_admitted = (struct admitted){0};
	error = finish(admit, ret_admitted, reason);
	if (error)
		admitted_free(ret_admitted);
	if (error == -ENOMEM)
		reason_set(reason, ENOMEM, "store_failed", "no memory left");
	return error;
}

void admitted_free(struct admitted *admitted)
{
	free(admitted->index_text);
	free(admitted->signature);
	*admitted = (struct admitted){0};
}
