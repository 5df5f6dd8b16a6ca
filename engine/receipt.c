/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receipts of both boxes, in memory as the store has them, with this mount's failures on top.
 *
 * Owns: one list in order of arrival and one hash table by box and name. RECEIPTS_MAX that the store
 * has are kept, and as many that it has not: a flood of failures drives no success out. The oldest
 * of its kind goes first, as in the store. `lock` is held for look-ups and insertions only.
 */
#include "engine/receipt.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/permit.h"

#define BUCKETS   4096
#define BOX_COUNT 2

struct entry {
	struct entry *chain;        /* in its bucket */
	struct entry *older, *newer; /* in order of arrival */
	enum box box;
	bool is_persistent; /* the store has a receipt of this name */
	int64_t at_ns;
	uid_t uid;
	char *text;
	size_t length;
	char name[];
};

struct receipts {
	pthread_mutex_t lock;
	struct entry *buckets[BUCKETS];
	struct entry *oldest, *newest;
	size_t counts[2]; /* of those that the store has not, and has */
	int64_t changed_ns[BOX_COUNT];
};

const char *box_name(enum box box)
{
	return box == BOX_DEPLOY ? "deploy" : "stage";
}

static size_t bucket_of(enum box box, const char *name)
{
	uint64_t hash = 0xcbf29ce484222325 + (uint64_t)box;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return (size_t)(hash % BUCKETS);
}

static struct entry **find_link(struct receipts *receipts, enum box box, const char *name)
{
	struct entry **link = &receipts->buckets[bucket_of(box, name)];

	while (*link && ((*link)->box != box || strcmp((*link)->name, name) != 0))
		link = &(*link)->chain;
	return link;
}

/* Takes an entry out of both structures and frees it. */
static void drop(struct receipts *receipts, struct entry **link)
{
	struct entry *entry = *link;

	*link = entry->chain;
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		receipts->oldest = entry->newer;
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		receipts->newest = entry->older;
	receipts->counts[entry->is_persistent]--;
	free(entry->text);
	free(entry);
}

static void drop_oldest(struct receipts *receipts, bool is_persistent)
{
	const struct entry *entry = receipts->oldest;

	while (entry->is_persistent != is_persistent)
		entry = entry->newer;
	drop(receipts, find_link(receipts, entry->box, entry->name));
}

static void insert(struct receipts *receipts, struct entry *entry)
{
	struct entry **link = find_link(receipts, entry->box, entry->name);

	if (*link) {
		entry->is_persistent |= (*link)->is_persistent;
		drop(receipts, link);
	}
	link = &receipts->buckets[bucket_of(entry->box, entry->name)];
	entry->chain = *link;
	*link = entry;
	entry->older = receipts->newest;
	if (receipts->newest)
		receipts->newest->newer = entry;
	else
		receipts->oldest = entry;
	receipts->newest = entry;
	receipts->counts[entry->is_persistent]++;
	if (entry->at_ns > receipts->changed_ns[entry->box])
		receipts->changed_ns[entry->box] = entry->at_ns;
	if (receipts->counts[entry->is_persistent] > RECEIPTS_MAX)
		drop_oldest(receipts, entry->is_persistent);
}

static struct entry *make_entry(enum box box, const char *name, const char *text, size_t length,
				int64_t at_ns, uid_t uid)
{
	size_t name_size = strlen(name) + 1;
	struct entry *entry = calloc(1, sizeof(*entry) + name_size);

	if (!entry)
		return NULL;
	entry->text = malloc(length + 1);
	if (!entry->text) {
		free(entry);
		return NULL;
	}
	memcpy(entry->text, text, length);
	entry->text[length] = '\0';
	memcpy(entry->name, name, name_size);
	entry->length = length;
	entry->box = box;
	entry->at_ns = at_ns;
	entry->uid = uid;
	return entry;
}

void receipt_file(struct engine *engine, enum box box, const char *name, const char *text,
		  size_t length, int64_t at_ns, uid_t uid, bool is_persistent)
{
	struct receipts *receipts = engine->receipts;
	struct entry *entry = make_entry(box, name, text, length, at_ns, uid);

	if (!entry)
		return; /* the store has it, or it would be gone at the unmount anyway */
	entry->is_persistent = is_persistent;
	pthread_mutex_lock(&receipts->lock);
	insert(receipts, entry);
	pthread_mutex_unlock(&receipts->lock);
}

static int load(void *context, const char *box_text, const char *name, const char *text,
		size_t length, const struct reason *why)
{
	struct engine *engine = context;
	enum box box = box_text && strcmp(box_text, "stage") == 0 ? BOX_STAGE : BOX_DEPLOY;
	const char *at;
	json_t *receipt;
	int64_t at_ns;
	uid_t uid;

	if (!text) {
		log_note(engine, "receipt_unreadable", true,
			 json_pack("{s:s, s:s}", "message", why->message, "remedy",
				   "nothing is lost but this receipt"));
		return 0;
	}
	receipt = json_loadb(text, length, 0, NULL);
	at = json_string_value(json_object_get(receipt, "at"));
	at_ns = at ? clock_parse(at) : 0;
	uid = (uid_t)json_integer_value(json_object_get(receipt, "uid"));
	json_decref(receipt);
	receipt_file(engine, box, name, text, length, at_ns, uid, true);
	return 0;
}

int receipts_open(struct engine *engine)
{
	struct receipts *receipts = calloc(1, sizeof(*receipts));

	if (!receipts)
		return -ENOMEM;
	pthread_mutex_init(&receipts->lock, NULL);
	engine->receipts = receipts;
	receipts->changed_ns[BOX_DEPLOY] = receipts->changed_ns[BOX_STAGE] = engine->mounted_ns;
	return rows_each_receipt(engine->store, load, engine);
}

void receipts_close(struct receipts *receipts)
{
	if (!receipts)
		return;
	while (receipts->oldest)
		drop(receipts, find_link(receipts, receipts->oldest->box, receipts->oldest->name));
	pthread_mutex_destroy(&receipts->lock);
	free(receipts);
}

int receipt_stat(struct engine *engine, enum box box, const char *name,
		 struct receipt *ret_receipt)
{
	struct entry *entry;

	pthread_mutex_lock(&engine->receipts->lock);
	entry = *find_link(engine->receipts, box, name);
	if (entry)
		*ret_receipt = (struct receipt){
			.length = entry->length, .at_ns = entry->at_ns, .uid = entry->uid};
	pthread_mutex_unlock(&engine->receipts->lock);
	return entry ? 0 : -ENOENT;
}

int receipt_get(struct engine *engine, enum box box, const char *name, struct receipt *ret_receipt)
{
	struct entry *entry;
	int error = -ENOENT;

	pthread_mutex_lock(&engine->receipts->lock);
	entry = *find_link(engine->receipts, box, name);
	if (entry) {
		*ret_receipt = (struct receipt){.text = strdup(entry->text),
						.length = entry->length,
						.at_ns = entry->at_ns,
						.uid = entry->uid};
		error = ret_receipt->text ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&engine->receipts->lock);
	return error;
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

int receipt_list(struct engine *engine, enum box box, char ***ret_names, size_t *ret_count)
{
	struct receipts *receipts = engine->receipts;
	size_t bytes = 0, count = 0;
	char **names, *text;

	pthread_mutex_lock(&receipts->lock);
	for (const struct entry *entry = receipts->oldest; entry; entry = entry->newer)
		bytes += entry->box == box ? sizeof(char *) + strlen(entry->name) + 1 : 0;
	names = malloc(bytes + 1);
	if (names) {
		for (const struct entry *entry = receipts->oldest; entry; entry = entry->newer)
			count += entry->box == box;
		text = (char *)(names + count);
		count = 0;
		for (const struct entry *entry = receipts->oldest; entry; entry = entry->newer) {
			if (entry->box != box)
				continue;
			names[count++] = text;
			text = stpcpy(text, entry->name) + 1;
		}
	}
	pthread_mutex_unlock(&receipts->lock);
	if (!names)
		return -ENOMEM;
	qsort(names, count, sizeof(*names), compare_names);
	*ret_names = names;
	*ret_count = count;
	return 0;
}

static int remove_persistent(struct engine *engine, enum box box, const char *name,
			     const struct caller *caller, struct reason *reason)
{
	struct row_change changes[2] = {{.kind = ROW_DELETE_RECEIPT}, {.kind = ROW_APPEND_AUDIT}};
	size_t length;
	char *line = audit_line(
		"receipt_removed", clock_wall_ns(), caller,
		json_pack("{s:s, s:o}", "box", box_name(box), "name", audit_string(name)), &length);
	int error;

	if (!line)
		return reason_set(reason, ENOMEM, "store_failed", "no memory left");
	changes[0].box = box_name(box);
	changes[0].name = name;
	changes[1].text = line;
	changes[1].text_length = length;
	error = rows_commit(engine->store, changes, 2, reason);
	free(line);
	log_audited(engine);
	return error == -ENOENT ? 0 : error; /* the store pruned it meanwhile */
}

int receipt_remove(struct engine *engine, enum box box, const char *name,
		   const struct caller *caller, struct reason *reason)
{
	struct receipts *receipts = engine->receipts;
	struct entry **link;
	bool is_persistent = false, found;
	int error = permit_deploy(engine, caller, "remove the receipt", name, reason);

	if (error)
		return error;
	pthread_mutex_lock(&receipts->lock);
	link = find_link(receipts, box, name);
	found = *link != NULL;
	if (found)
		is_persistent = (*link)->is_persistent;
	pthread_mutex_unlock(&receipts->lock);
	if (!found)
		return -ENOENT;
	if (is_persistent)
		error = remove_persistent(engine, box, name, caller, reason);
	if (error)
		return error;
	pthread_mutex_lock(&receipts->lock);
	link = find_link(receipts, box, name);
	if (*link)
		drop(receipts, link);
	receipts->changed_ns[box] = clock_wall_ns();
	pthread_mutex_unlock(&receipts->lock);
	return 0;
}

int64_t receipt_changed_ns(struct engine *engine, enum box box)
{
	int64_t changed_ns;

	pthread_mutex_lock(&engine->receipts->lock);
	changed_ns = engine->receipts->changed_ns[box];
	pthread_mutex_unlock(&engine->receipts->lock);
	return changed_ns;
}
