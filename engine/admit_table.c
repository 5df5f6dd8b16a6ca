/* SPDX-License-Identifier: Apache-2.0 */
/* Names brought to their one form, and the table that finds an entry by it. */
#include "engine/admit_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/index.h"

int admit_refuse(struct reason *reason, int error, const char *code, const char *path,
		 size_t length, const char *what)
{
	struct reason named = {0};

	reason_name_entry(&named, path, length);
	reason_set(reason, error, code, "the entry \"%s\" %s", named.entry, what);
	reason_name_entry(reason, path, length);
	return -error;
}

static int refuse_name(struct reason *reason, const char *code, const char *path, size_t length,
		       const char *what)
{
	return admit_refuse(reason, EINVAL, code, path, length, what);
}

int admit_normalise(const char *path, size_t length, bool is_target, char *out,
		    size_t *ret_length, struct reason *reason)
{
	size_t used = 0, begin = 0;

	if (length == 0)
		return refuse_name(reason, "name_invalid", path, length, "has an empty name");
	if (memchr(path, '\0', length))
		return refuse_name(reason, "name_invalid", path, length,
				   "has a NUL byte in its name");
	if (path[0] == '/')
		return refuse_name(reason, "entry_unsafe", path, length,
				   is_target ? "is the absolute target of a hard link"
					     : "has an absolute path");
	while (begin < length) {
		const char *slash = memchr(path + begin, '/', length - begin);
		size_t end = slash ? (size_t)(slash - path) : length;
		size_t part = end - begin;
		const char *name = path + begin;

		begin = end + 1;
		if (part == 0 || (part == 1 && name[0] == '.'))
			continue;
		if (part == 2 && name[0] == '.' && name[1] == '.')
			return refuse_name(reason, "entry_unsafe", path, length,
					   "has .. in its path");
		if (part > INDEX_NAME_MAX)
			return refuse_name(reason, "name_invalid", path, length,
					   "has a name of more than 255 bytes");
		if (used + part + 1 > INDEX_PATH_MAX + (used == 0))
			return refuse_name(reason, "name_invalid", path, length,
					   "has a path of more than 4095 bytes");
		if (used > 0)
			out[used++] = '/';
		memcpy(out + used, name, part);
		used += part;
	}
	*ret_length = used;
	return 0;
}

static uint64_t hash_path(uint64_t seed, const char *path, size_t length)
{
	uint64_t hash = seed ^ (length * 0x9e3779b97f4a7c15);

	while (length > 0) {
		uint64_t word = 0;
		size_t part = length < 8 ? length : 8;

		memcpy(&word, path, part);
		hash = (hash ^ word) * 0xff51afd7ed558ccd;
		hash ^= hash >> 32;
		hash = (hash + seed) * 0xc4ceb9fe1a85ec53;
		hash ^= hash >> 29;
		path += part;
		length -= part;
	}
	return hash;
}

uint32_t admit_table_slot(const struct admit_table *table, const char *path, size_t length)
{
	uint32_t mask = table->slot_count - 1;
	uint32_t slot = (uint32_t)hash_path(table->seed, path, length) & mask;

	while (table->slots[slot] != UINT32_MAX) {
		const struct admit_item *item = &table->items[table->slots[slot]];

		if (item->path_length == length && memcmp(item->path, path, length) == 0)
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

uint32_t admit_table_find(const struct admit_table *table, const char *path, size_t length)
{
	return table->slots ? table->slots[admit_table_slot(table, path, length)] : UINT32_MAX;
}

int admit_table_make_slots(struct admit_table *table, uint32_t count)
{
	uint32_t wanted = 64;

	while (wanted / 2 < count + 1)
		wanted *= 2;
	free(table->slots);
	table->slots = malloc(wanted * sizeof(*table->slots));
	if (!table->slots)
		return -ENOMEM;
	memset(table->slots, 0xff, wanted * sizeof(*table->slots));
	table->slot_count = wanted;
	return 0;
}

