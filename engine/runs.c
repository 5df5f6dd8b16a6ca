/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the table of runs, and what everybody may see of one. A look takes the table's lock for the
 * time of a copy; bytes and names come from the store, in a snapshot of their own.
 */
#include "engine/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/log.h"
#include "engine/permit.h"
#include "engine/run_log.h"
#include "engine/run_private.h"
#include "store/contents.h"
#include "store/journal.h"

#define BUCKETS_MIN 1024
#define QUICK_EVENTS 64

static uint64_t hash_id(const char *id)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 0x100000001b3;
	return hash;
}

/* ---- the table ---- */

static int open_log_directory(struct engine *engine)
{
	int state = store_directory(engine->store), fd;

	if (mkdirat(state, "logs", 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(state, "logs", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int runs_new(struct engine *engine)
{
	struct runs *runs = calloc(1, sizeof(*runs));
	pthread_rwlockattr_t attributes;

	if (!runs)
		return -ENOMEM;
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&runs->lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	pthread_mutex_init(&runs->waits_lock, NULL);
	pthread_mutex_init(&runs->kept_lock, NULL);
	for (size_t i = 0; i < ID_STRIPES; i++)
		pthread_mutex_init(&runs->id_locks[i], NULL);
	runs->bucket_count = BUCKETS_MIN;
	runs->buckets = calloc(runs->bucket_count, sizeof(*runs->buckets));
	runs->changed_ns = engine->mounted_ns;
	runs->log_directory = open_log_directory(engine);
	engine->runs = runs;
	if (!runs->buckets)
		return -ENOMEM;
	return runs->log_directory < 0 ? runs->log_directory : 0;
}

void runs_free(struct engine *engine)
{
	struct runs *runs = engine->runs;

	if (!runs)
		return;
	for (size_t i = 0; runs->buckets && i < runs->bucket_count; i++) {
		for (struct run *run = runs->buckets[i], *next; run; run = next) {
			next = run->chain;
			run_put(run);
		}
	}
	if (runs->log_directory >= 0)
		close(runs->log_directory);
	for (size_t i = 0; i < ID_STRIPES; i++)
		pthread_mutex_destroy(&runs->id_locks[i]);
	pthread_mutex_destroy(&runs->waits_lock);
	pthread_mutex_destroy(&runs->kept_lock);
	items_clear(&runs->kept);
	pthread_rwlock_destroy(&runs->lock);
	free(runs->buckets);
	free(runs);
	engine->runs = NULL;
}

struct run *run_new(const char *id, uint64_t number)
{
	struct run *run = calloc(1, sizeof(*run) + strlen(id) + 1);

	if (!run)
		return NULL;
	strcpy(run->id, id);
	run->number = number;
	atomic_init(&run->references, 1);
	pthread_mutex_init(&run->lock, NULL);
	return run;
}

struct run *run_get(struct run *run)
{
	atomic_fetch_add(&run->references, 1);
	return run;
}

void run_put(struct run *run)
{
	if (!run || atomic_fetch_sub(&run->references, 1) != 1)
		return;
	pin_drop(run);
	run_state_free(&run->state);
	if (run->items)
		items_clear(run->items);
	free(run->items);
	pthread_mutex_destroy(&run->lock);
	free(run);
}

static struct run **bucket_of(const struct runs *runs, const char *id)
{
	return &runs->buckets[hash_id(id) & (runs->bucket_count - 1)];
}

/* Twice the buckets when chains grow; without memory the old table goes on, only slower. */
static void rehash(struct runs *runs)
{
	size_t old_count = runs->bucket_count;
	struct run **old = runs->buckets, **buckets;

	if (runs->count < old_count)
		return;
	buckets = calloc(old_count * 2, sizeof(*buckets));
	if (!buckets)
		return;
	runs->buckets = buckets;
	runs->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		for (struct run *run = old[i], *next; run; run = next) {
			struct run **bucket = bucket_of(runs, run->id);

			next = run->chain;
			run->chain = *bucket;
			*bucket = run;
		}
	}
	free(old);
}

int runs_insert(struct engine *engine, struct run *run)
{
	struct runs *runs = engine->runs;
	struct run **bucket;

	pthread_rwlock_wrlock(&runs->lock);
	rehash(runs);
	bucket = bucket_of(runs, run->id);
	run->chain = *bucket;
	*bucket = run;
	runs->count++;
	runs->by_status[run->state.status]++;
	if (run->state.changed_ns > runs->changed_ns)
		runs->changed_ns = run->state.changed_ns;
	pthread_rwlock_unlock(&runs->lock);
	return 0;
}

void runs_take_out(struct engine *engine, struct run *run)
{
	struct runs *runs = engine->runs;
	struct run **link;

	pthread_rwlock_wrlock(&runs->lock);
	link = bucket_of(runs, run->id);
	while (*link != run)
		link = &(*link)->chain;
	*link = run->chain;
	run->chain = NULL;
	run->is_removed = true;
	runs->count--;
	runs->by_status[run->state.status]--;
	runs->changed_ns = clock_wall_ns();
	pthread_rwlock_unlock(&runs->lock);
	run_put(run);
}

/* With runs->lock held. */
static struct run *find(const struct runs *runs, const char *id)
{
	struct run *run = *bucket_of(runs, id);

	while (run && strcmp(run->id, id) != 0)
		run = run->chain;
	return run;
}

struct run *runs_find(struct engine *engine, const char *id)
{
	struct runs *runs = engine->runs;
	struct run *run;

	pthread_rwlock_rdlock(&runs->lock);
	run = find(runs, id);
	if (run)
		run_get(run);
	pthread_rwlock_unlock(&runs->lock);
	return run;
}

void runs_each(struct engine *engine, void (*each)(void *context, struct run *run), void *context)
{
	struct runs *runs = engine->runs;

	pthread_rwlock_rdlock(&runs->lock);
	for (size_t i = 0; i < runs->bucket_count; i++) {
		for (struct run *run = runs->buckets[i]; run; run = run->chain)
			each(context, run);
	}
	pthread_rwlock_unlock(&runs->lock);
}

void runs_lock_id(struct engine *engine, const char *id)
{
	pthread_mutex_lock(&engine->runs->id_locks[hash_id(id) % ID_STRIPES]);
}

void runs_unlock_id(struct engine *engine, const char *id)
{
	pthread_mutex_unlock(&engine->runs->id_locks[hash_id(id) % ID_STRIPES]);
}

/* ---- looking ---- */

static void fill_view(const struct run *run, struct run_view *view)
{
	const struct run_state *state = &run->state;

	*view = (struct run_view){
	    .version = state->version,
	    .number = run->number,
	    .uid = state->uid,
	    .gid = state->gid,
	    .status = state->status,
	    .sequence = state->sequence,
	    .attempt = state->attempt,
	    .steps = state->steps,
	    .timers = state->timers,
	    .signals = state->signals,
	    .started_ns = state->started_ns,
	    .changed_ns = state->changed_ns,
	    .deadline_ns = state->deadline_ns,
	    .has_error = state->error != NULL,
	};
	strcpy(view->id, run->id);
	strcpy(view->type, state->type);
}

int runs_view(struct engine *engine, const char *id, struct run_view *ret_view)
{
	struct runs *runs = engine->runs;
	struct run *run;

	pthread_rwlock_rdlock(&runs->lock);
	run = find(runs, id);
	if (run)
		fill_view(run, ret_view);
	pthread_rwlock_unlock(&runs->lock);
	return run ? 0 : -ENOENT;
}

int runs_each_id(struct engine *engine, enum run_status status,
		 int (*each)(void *context, const char *id), void *context)
{
	struct runs *runs = engine->runs;
	int result = 0;

	pthread_rwlock_rdlock(&runs->lock);
	if (status != RUN_STATUSES && !runs->by_status[status]) {
		pthread_rwlock_unlock(&runs->lock);
		return 0;
	}
	for (size_t i = 0; i < runs->bucket_count && !result; i++) {
		for (struct run *run = runs->buckets[i]; run && !result; run = run->chain) {
			if (status == RUN_STATUSES || run->state.status == status)
				result = each(context, run->id);
		}
	}
	pthread_rwlock_unlock(&runs->lock);
	return result;
}

void runs_count(struct engine *engine, uint64_t ret_counts[RUN_STATUSES])
{
	struct runs *runs = engine->runs;

	pthread_rwlock_rdlock(&runs->lock);
	for (int status = 0; status < RUN_STATUSES; status++)
		ret_counts[status] = runs->by_status[status];
	pthread_rwlock_unlock(&runs->lock);
}

int64_t runs_changed_ns(struct engine *engine)
{
	struct runs *runs = engine->runs;
	int64_t changed_ns;

	pthread_rwlock_rdlock(&runs->lock);
	changed_ns = runs->changed_ns;
	pthread_rwlock_unlock(&runs->lock);
	return changed_ns;
}

int runs_check_access(struct engine *engine, const struct caller *caller, const char *id)
{
	struct run_view view;
	int error = runs_view(engine, id, &view);

	if (error)
		return error;
	return permit_user(engine, caller, view.uid) ? 0 : -EACCES;
}

/* ---- values ---- */

static int find_item(struct engine *engine, struct run *run, enum item_kind kind, const char *name,
		     struct run_value_view *view)
{
	struct item item;
	int error = history_find_item(engine, run, kind, name, &item);

	if (error)
		return error;
	view->sequence = item.sequence;
	view->digest = item.digest;
	/* A timer reads as a line: its size is that of what is read. */
	view->bytes = item.bytes + (kind == ITEM_TIMER);
	view->at_ns = item.is_fired ? item.fired_ns : item.at_ns;
	view->until_ns = item.until_ns;
	view->is_fired = item.is_fired;
	free(item.text);
	free(item.name);
	return 0;
}

/* The input and the result, as the state knows them. */
static int find_main(struct engine *engine, struct run *run, enum run_value value,
		     struct run_value_view *view)
{
	const struct run_state *state = &run->state;
	int error = 0;

	pthread_rwlock_rdlock(&engine->runs->lock);
	if (value == RUN_VALUE_INPUT) {
		view->sequence = 1;
		view->digest = state->input_digest;
		view->bytes = state->input_bytes;
		view->at_ns = state->started_ns;
	} else if (state->status == RUN_COMPLETED) {
		view->sequence = state->result_sequence;
		view->bytes = state->result_bytes;
		view->at_ns = state->changed_ns;
	} else {
		error = -ENOENT;
	}
	pthread_rwlock_unlock(&engine->runs->lock);
	return error;
}

static int find_value(struct engine *engine, struct run *run, enum run_value value,
		      const char *name, struct run_value_view *view)
{
	*view = (struct run_value_view){.run = run->number};
	switch (value) {
	case RUN_VALUE_INPUT:
	case RUN_VALUE_RESULT:
		return find_main(engine, run, value, view);
	case RUN_VALUE_STEP:
		return find_item(engine, run, ITEM_STEP, name, view);
	case RUN_VALUE_SIGNAL:
		return find_item(engine, run, ITEM_SIGNAL, name, view);
	case RUN_VALUE_TIMER:
		return find_item(engine, run, ITEM_TIMER, name, view);
	}
	return -ENOENT;
}

bool runs_is_quick(struct engine *engine, const char *id)
{
	struct runs *runs = engine->runs;
	const struct run *run;
	bool is_quick;

	pthread_rwlock_rdlock(&runs->lock);
	run = find(runs, id);
	is_quick = !run || run->items || run->state.sequence <= QUICK_EVENTS;
	pthread_rwlock_unlock(&runs->lock);
	return is_quick;
}

int runs_find_value(struct engine *engine, const char *id, enum run_value value, const char *name,
		    struct run_value_view *ret_view)
{
	struct run *run = runs_find(engine, id);
	int error = run ? find_value(engine, run, value, name, ret_view) : -ENOENT;

	run_put(run);
	return error;
}

/* A timer's text is in its event; a newline ends it, as in every file of one line. */
static int read_timer(struct engine *engine, struct run *run, const char *name,
		      struct run_value_view *view, char **ret_text)
{
	struct item item;
	int error = history_find_item(engine, run, ITEM_TIMER, name, &item);

	if (error)
		return error;
	free(item.name);
	*ret_text = audit_newline(item.text, &item.bytes);
	view->bytes = item.bytes;
	return *ret_text ? 0 : -ENOMEM;
}

static int read_stored(struct engine *engine, struct run_value_view *view, char **ret_text)
{
	struct value_row row;
	int error = journal_value(engine->store, view->run, view->sequence, &row, ret_text);

	if (error)
		return error == -ENOENT ? -EIO : error;
	view->digest = row.digest;
	view->bytes = row.size;
	if (*ret_text)
		return 0;
	return contents_verify(engine->store, &row.digest, row.size, NULL) ? -EIO : 0;
}

int runs_read_value(struct engine *engine, const char *id, enum run_value value, const char *name,
		    struct run_value_view *ret_view, char **ret_text)
{
	struct run *run = runs_find(engine, id);
	int error = run ? find_value(engine, run, value, name, ret_view) : -ENOENT;

	*ret_text = NULL;
	if (!error && value == RUN_VALUE_TIMER)
		error = read_timer(engine, run, name, ret_view, ret_text);
	else if (!error)
		error = read_stored(engine, ret_view, ret_text);
	run_put(run);
	return error;
}

int runs_step_command(struct engine *engine, const char *id, const char *name, char **ret_command)
{
	struct run *run = runs_find(engine, id);
	struct item item;
	int error = run ? history_find_item(engine, run, ITEM_STEP, name, &item) : -ENOENT;

	run_put(run);
	if (error)
		return error;
	free(item.name);
	*ret_command = item.text;
	return 0;
}

int runs_each_item(struct engine *engine, const char *id, enum item_kind kind,
		   int (*each)(void *context, const char *name), void *context)
{
	struct run *run = runs_find(engine, id);
	struct items items;
	uint64_t sequence;
	int error = run ? history_borrow_items(engine, run, &items, &sequence) : -ENOENT;

	if (!error) {
		for (size_t i = 0; !error && i < items.count; i++) {
			if (items.list[i].kind == kind)
				error = each(context, items.list[i].name);
		}
		history_return_items(engine, run, &items, sequence);
	}
	run_put(run);
	return error;
}

/* ---- texts ---- */

static int give(char *text, char **ret_text, size_t *ret_length)
{
	*ret_text = audit_newline(text, ret_length);
	return *ret_text ? 0 : -ENOMEM;
}

int runs_status_text(struct engine *engine, const char *id, char **ret_text, size_t *ret_length)
{
	struct run_view view;
	int error = runs_view(engine, id, &view);

	return error ? error : give(strdup(run_status_name(view.status)), ret_text, ret_length);
}

int runs_error(struct engine *engine, const char *id, char **ret_text, size_t *ret_length)
{
	struct runs *runs = engine->runs;
	struct run *run;
	char *text = NULL;
	bool has_error;

	pthread_rwlock_rdlock(&runs->lock);
	run = find(runs, id);
	has_error = run && run->state.error;
	if (has_error)
		text = strdup(run->state.error);
	pthread_rwlock_unlock(&runs->lock);
	return has_error ? give(text, ret_text, ret_length) : -ENOENT;
}

int runs_log_size(struct engine *engine, const char *id, uint64_t *ret_size)
{
	struct run_view view;
	int error = runs_view(engine, id, &view);

	return error ? error : run_log_size(engine->runs->log_directory, view.number, ret_size);
}

ssize_t runs_log_read(struct engine *engine, const char *id, uint64_t offset, char *buffer,
		      size_t size)
{
	struct run_view view;
	int error = runs_view(engine, id, &view);

	if (error)
		return error;
	return run_log_read(engine->runs->log_directory, view.number, offset, buffer, size);
}

/* ---- removing ---- */

static int refuse_unfinished(const struct run *run, enum run_status status, struct reason *reason)
{
	return reason_set(reason, EBUSY, "run_unfinished",
			  "run %s is %s: only finished runs can be removed; cancel it first: "
			  "echo cancel > runs/%s/ctl",
			  run->id, run_status_name(status), run->id);
}

/* Without run->lock, which is held for as long as a version is verified or a user looked up. */
static enum run_status status_now(struct engine *engine, const struct run *run)
{
	enum run_status status;

	pthread_rwlock_rdlock(&engine->runs->lock);
	status = run->state.status;
	pthread_rwlock_unlock(&engine->runs->lock);
	return status;
}

static int remove_locked(struct engine *engine, const struct caller *caller, struct run *run,
			 struct reason *reason)
{
	size_t length = 0;
	char *line;
	int error;

	if (run->is_removed)
		return -ENOENT;
	if (!run_is_final(run->state.status))
		return refuse_unfinished(run, run->state.status, reason);
	line =
	    audit_line("run_removed", clock_wall_ns(), caller,
		       json_pack("{s:s, s:s}", "run", run->id, "type", run->state.type), &length);
	error = line ? journal_remove_run(engine->store, run->id, run->number, line, length, reason)
		     : -ENOMEM;
	free(line);
	if (error)
		return error;
	supervisor_schedule(engine, run, 0);
	runs_take_out(engine, run);
	/* Its processes may still be ending. To wait for that here could be for ever: rmdir(2)
	 * keeps the directory locked, and they may be on their way through it. */
	if (run->process)
		supervisor_attend(engine, run);
	run_log_remove(engine->runs->log_directory, run->number);
	return 0;
}

int runs_remove(struct engine *engine, const struct caller *caller, const char *id,
		struct reason *reason)
{
	struct run *run = runs_find(engine, id);
	enum run_status status;
	int error;

	if (!run)
		return -ENOENT;
	error = caller ? runs_check_access(engine, caller, id) : 0;
	status = status_now(engine, run);
	if (!error && !run_is_final(status))
		error = refuse_unfinished(run, status, reason);
	if (!error) {
		pthread_mutex_lock(&run->lock);
		error = remove_locked(engine, caller, run, reason);
		pthread_mutex_unlock(&run->lock);
	}
	if (!error)
		log_audited(engine);
	run_put(run);
	return error;
}
