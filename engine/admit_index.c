/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of a judged package, sorted and written as its canonical index. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/admit_table.h"
#include "engine/index.h"

static int by_path(const void *left, const void *right)
{
	const struct index_entry *a = left, *b = right;
	size_t shorter = a->path_length < b->path_length ? a->path_length : b->path_length;
	int order = memcmp(a->path, b->path, shorter);

	if (order)
		return order;
	return a->path_length < b->path_length ? -1 : a->path_length > b->path_length;
}

static enum index_kind index_kind_of(const struct admit_item *item)
{
	if (item->kind == ADMIT_DIR)
		return INDEX_DIR;
	return item->kind == ADMIT_SYMLINK ? INDEX_LINK : INDEX_FILE;
}

int admit_build_index(const struct admit_table *table, struct admitted *admitted)
{
	struct index_entry *entries = malloc((table->count + 1) * sizeof(*entries));
	size_t count = 1;
	int error;

	if (!entries)
		return -ENOMEM;
	entries[0] = (struct index_entry){.path = "", .kind = INDEX_DIR};
	for (uint32_t i = 0; i < table->count; i++) {
		const struct admit_item *item = &table->items[i];

		if (item->path_length == 0)
			continue;
		entries[count++] = (struct index_entry){
			.path = item->path,
			.path_length = item->path_length,
			.kind = index_kind_of(item),
			.executable = item->executable,
			.size = item->size,
			.digest = item->digest,
			.target = item->target,
			.target_length = item->target_length,
		};
		if (item->kind == ADMIT_FILE)
			admitted->bytes += item->size;
	}
	admitted->entries = count - 1;
	qsort(entries, count, sizeof(*entries), by_path);
	error = index_emit(entries, count, &admitted->index_text, &admitted->index_length);
	free(entries);
	if (!error)
		error = digest_of(admitted->index_text, admitted->index_length,
				  &admitted->version);
	return error;
}
