/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of a package, judged against its finished tree.
 *
 * Hard links: names that are linked, in whatever direction, form a set; its data is the one body
 * that has bytes (tar brings it with the first name, cpio with the last), else the empty one.
 *
 * Symbolic links: each is followed from its own directory, component by component, through other
 * links of the package. A step that is absolute or climbs above the root refuses the package. A
 * missing name is gone through by its text, so that `missing/../../x` counts as climbing. Work is
 * bounded: LINK_MAX links on one way (more is a circle, as for the kernel, and harmless), STEPS_MAX
 * bytes in all, where each component counts as STEP_COST bytes more.
 */
#include "engine/admit_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINK_MAX  40
#define WAY_MAX   (64u * 1024)
#define NAME_ROOM 4096
#define STEPS_MAX (1024u * 1024 * 1024)
#define STEP_COST 64 /* what a component costs besides its bytes */

/* ---- hard links ---- */

static uint32_t set_of(struct admit_table *table, uint32_t item)
{
	while (table->items[item].set != item) {
		uint32_t parent = table->items[item].set;

		table->items[item].set = table->items[parent].set; /* halves the way */
		item = parent;
	}
	return item;
}

static int join_sets(struct admit_table *table, struct reason *reason)
{
	for (uint32_t i = 0; i < table->count; i++) {
		const struct admit_item *link = &table->items[i];
		uint32_t target;

		if (link->kind != ADMIT_HARDLINK)
			continue;
		target = admit_table_find(table, link->target, link->target_length);
		if (target == UINT32_MAX)
			return admit_refuse(reason, EINVAL, "entry_unsafe", link->path,
					    link->path_length,
					    "is a hard link to a name that is not in the archive");
		if (table->items[target].kind == ADMIT_DIR)
			return admit_refuse(reason, EINVAL, "entry_unsafe", link->path,
					    link->path_length, "is a hard link to a directory");
		table->items[set_of(table, i)].set = set_of(table, target);
	}
	return 0;
}

/* Whether `item` is a better source of its set's data than `best`. */
static bool is_better(const struct admit_item *item, const struct admit_item *best)
{
	if (item->kind == ADMIT_HARDLINK && !item->has_body)
		return false;
	if (!best)
		return true;
	return item->size > 0 && best->size == 0 && best->kind != ADMIT_SYMLINK;
}

static bool disagree(const struct admit_item *item, const struct admit_item *best)
{
	if ((item->kind == ADMIT_SYMLINK) != (best->kind == ADMIT_SYMLINK))
		return item->kind == ADMIT_SYMLINK || item->has_body;
	return item->has_body && item->size > 0 && !digest_equal(&item->digest, &best->digest);
}

static int share_data(struct admit_table *table, const uint32_t *sources, struct reason *reason)
{
	for (uint32_t i = 0; i < table->count; i++) {
		struct admit_item *item = &table->items[i];
		uint32_t source = sources[set_of(table, i)];
		const struct admit_item *best = source == UINT32_MAX ? NULL : &table->items[source];

		if (item->kind == ADMIT_DIR)
			continue;
		if (!best)
			return admit_refuse(reason, EINVAL, "entry_unsafe", item->path,
					    item->path_length,
					    "is a hard link in a circle: no entry has its data");
		if (disagree(item, best))
			return admit_refuse(reason, EINVAL, "entry_unsafe", item->path,
					    item->path_length,
					    "is hard-linked to an entry with other contents");
		item->kind = best->kind == ADMIT_SYMLINK ? ADMIT_SYMLINK : ADMIT_FILE;
		item->digest = best->digest;
		item->size = best->size;
		item->executable = best->executable;
		if (best->kind == ADMIT_SYMLINK) {
			item->target = best->target;
			item->target_length = best->target_length;
		}
	}
	return 0;
}

/* The source of each set's data; a set of hard links alone has none. */
static void find_sources(struct admit_table *table, uint32_t *sources)
{
	for (uint32_t i = 0; i < table->count; i++)
		sources[i] = UINT32_MAX;
	for (uint32_t i = 0; i < table->count; i++) {
		uint32_t set = set_of(table, i);
		uint32_t source = sources[set];
		const struct admit_item *best = source == UINT32_MAX ? NULL : &table->items[source];

		if (is_better(&table->items[i], best))
			sources[set] = i;
	}
}

/* A set whose only body came with a link itself has no file that the links lead to. */
static bool any_hard_link(const struct admit_table *table)
{
	for (uint32_t i = 0; i < table->count; i++) {
		if (table->items[i].kind == ADMIT_HARDLINK)
			return true;
	}
	return false;
}

static int require_files(struct admit_table *table, struct reason *reason)
{
	uint8_t *has_file = calloc(table->count, 1);
	int error = 0;

	if (!has_file)
		return -ENOMEM;
	for (uint32_t i = 0; i < table->count; i++)
		has_file[set_of(table, i)] |= table->items[i].kind != ADMIT_HARDLINK;
	for (uint32_t i = 0; !error && i < table->count; i++) {
		if (!has_file[set_of(table, i)])
			error = admit_refuse(reason, EINVAL, "entry_unsafe", table->items[i].path,
					     table->items[i].path_length,
					     "is a hard link in a circle: no entry has its data");
	}
	free(has_file);
	return error;
}

int admit_hard_links(struct admit_table *table, struct reason *reason)
{
	uint32_t *sources;
	int error;

	if (!any_hard_link(table))
		return 0;
	for (uint32_t i = 0; i < table->count; i++)
		table->items[i].set = i;
	error = join_sets(table, reason);
	if (!error)
		error = require_files(table, reason);
	if (error)
		return error;
	sources = malloc(table->count * sizeof(*sources));
	if (!sources)
		return -ENOMEM;
	find_sources(table, sources);
	error = share_data(table, sources, reason);
	free(sources);
	return error;
}

/* ---- symbolic links ---- */

/* A way through the package: where it is, and what is still to be gone. */
struct way {
	struct admit_table *table;
	char *at; /* the path so far, "" is the root */
	size_t at_length;
	char *rest; /* ends at WAY_MAX; what is to come begins at rest_begin */
	size_t rest_begin;
	unsigned links;
	uint64_t steps; /* bytes looked at, over all ways */
};

enum step {
	STEP_ON,
	STEP_END,
	STEP_OUT,     /* absolute, or above the root */
	STEP_TANGLED, /* more than may be followed */
};

static int way_open(struct way *way, struct admit_table *table)
{
	*way = (struct way){.table = table, .at = malloc(WAY_MAX), .rest = malloc(WAY_MAX)};
	if (way->at && way->rest)
		return 0;
	free(way->at);
	free(way->rest);
	return -ENOMEM;
}

static void way_close(struct way *way)
{
	free(way->at);
	free(way->rest);
}

/* Puts a text in front of what is still to be gone. */
static bool push_text(struct way *way, const char *text, size_t length)
{
	if (length + 1 > way->rest_begin)
		return false;
	if (way->rest_begin < WAY_MAX)
		way->rest[--way->rest_begin] = '/';
	way->rest_begin -= length;
	memcpy(way->rest + way->rest_begin, text, length);
	return true;
}

static bool way_begin(struct way *way, const char *from, size_t from_length, const char *text,
		      size_t length)
{
	memcpy(way->at, from, from_length);
	way->at_length = from_length;
	way->rest_begin = WAY_MAX;
	way->links = 0;
	return push_text(way, text, length);
}

static enum step climb(struct way *way)
{
	const char *slash;

	if (way->at_length == 0)
		return STEP_OUT;
	slash = memrchr(way->at, '/', way->at_length);
	way->at_length = slash ? (size_t)(slash - way->at) : 0;
	return STEP_ON;
}

static enum step enter(struct way *way, const char *name, size_t length)
{
	size_t before = way->at_length;
	const struct admit_item *item;
	uint32_t found;

	if (way->at_length + length + 1 > WAY_MAX)
		return STEP_TANGLED;
	if (way->at_length > 0)
		way->at[way->at_length++] = '/';
	memcpy(way->at + way->at_length, name, length);
	way->at_length += length;
	way->steps += way->at_length;
	found = admit_table_find(way->table, way->at, way->at_length);
	if (found == UINT32_MAX || way->table->items[found].kind != ADMIT_SYMLINK)
		return STEP_ON;
	item = &way->table->items[found];
	way->at_length = before;
	if (item->target[0] == '/')
		return STEP_OUT;
	if (++way->links > LINK_MAX)
		return STEP_END;
	return push_text(way, item->target, item->target_length) ? STEP_ON : STEP_TANGLED;
}

static enum step way_step(struct way *way)
{
	char name[NAME_ROOM];
	const char *begin, *slash;
	size_t left, length;

	while (way->rest_begin < WAY_MAX && way->rest[way->rest_begin] == '/')
		way->rest_begin++;
	left = WAY_MAX - way->rest_begin;
	if (left == 0)
		return STEP_END;
	if (way->steps > STEPS_MAX)
		return STEP_TANGLED;
	begin = way->rest + way->rest_begin;
	slash = memchr(begin, '/', left);
	length = slash ? (size_t)(slash - begin) : left;
	way->rest_begin += length;
	way->steps += length + STEP_COST;
	if (length == 1 && begin[0] == '.')
		return STEP_ON;
	if (length == 2 && begin[0] == '.' && begin[1] == '.')
		return climb(way);
	if (length >= sizeof(name))
		return STEP_TANGLED;
	memcpy(name, begin, length); /* enter() may write over it */
	return enter(way, name, length);
}

static int judge_link(struct way *way, const struct admit_item *link, struct reason *reason)
{
	const char *slash = memrchr(link->path, '/', link->path_length);
	enum step step = STEP_ON;

	if (link->target[0] == '/')
		return admit_refuse(reason, EINVAL, "entry_unsafe", link->path, link->path_length,
				    "is a symbolic link with an absolute target");
	if (!way_begin(way, link->path, slash ? (size_t)(slash - link->path) : 0, link->target,
		       link->target_length))
		step = STEP_TANGLED;
	while (step == STEP_ON)
		step = way_step(way);
	if (step == STEP_OUT)
		return admit_refuse(reason, EINVAL, "entry_unsafe", link->path, link->path_length,
				    "is a symbolic link that leads out of the package");
	if (step == STEP_TANGLED)
		return admit_refuse(reason, EINVAL, "entry_unsafe", link->path, link->path_length,
				    "is a symbolic link that takes too long to follow");
	return 0;
}

int admit_symbolic_links(struct admit_table *table, struct reason *reason)
{
	struct way way;
	int error = way_open(&way, table);

	if (error)
		return error;
	for (uint32_t i = 0; !error && i < table->count; i++) {
		if (table->items[i].kind == ADMIT_SYMLINK)
			error = judge_link(&way, &table->items[i], reason);
	}
	way_close(&way);
	return error;
}

uint32_t admit_resolve(struct admit_table *table, const char *path, size_t length)
{
	enum step step = STEP_ON;
	uint32_t found = UINT32_MAX;
	struct way way;

	if (way_open(&way, table) != 0)
		return UINT32_MAX;
	if (way_begin(&way, "", 0, path, length)) {
		while (step == STEP_ON)
			step = way_step(&way);
		if (step == STEP_END && way.links <= LINK_MAX)
			found = admit_table_find(table, way.at, way.at_length);
	}
	way_close(&way);
	return found;
}
