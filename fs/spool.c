/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the spools: their files, their names in the boxes, and whose turn it is. Invariant: a call
 * that has the turn ends it exactly once, also when no worker takes the call. Refuses more spools
 * than the process has descriptors to spare.
 */
#include "fs/spool.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/clock.h"
#include "fs/task.h"

#define KEPT_MAX 1024 /* of each quota */
#define SPOOLS_MAX 4096
#define SWEEP_MIN 64 /* so many steps without an end are not worth a look */

struct boxes {
	pthread_mutex_t lock;
	struct spool *spools;
	size_t count, count_max;
	size_t kept_counts[QUOTAS];
	size_t sweep_at[QUOTAS]; /* with so many the next look for stale ones is due */
};

/* As many as the process may have, half of them left to the store, the decoders and the mount. */
static size_t spools_allowed(void)
{
	struct rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
	rlim_t wanted = 2 * SPOOLS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < wanted) {
		files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
		setrlimit(RLIMIT_NOFILE, &files);
		getrlimit(RLIMIT_NOFILE, &files);
	}
	return files.rlim_cur < wanted ? files.rlim_cur / 2 : SPOOLS_MAX;
}

struct boxes *boxes_new(void)
{
	struct boxes *boxes = calloc(1, sizeof(*boxes));

	if (!boxes)
		return NULL;
	pthread_mutex_init(&boxes->lock, NULL);
	boxes->count_max = spools_allowed();
	for (int quota = 0; quota < QUOTAS; quota++)
		boxes->sweep_at[quota] = SWEEP_MIN;
	return boxes;
}

static void destroy(struct spool *spool)
{
	spool_forget_prepared(spool);
	close(spool->fd);
	free(spool);
}

static void destroy_in_worker(struct work *work)
{
	destroy((struct spool *)((char *)work - offsetof(struct spool, discarding)));
}

/* With the boxes' lock. Returns whether that was the last reference; the spool is then unlisted. */
static bool drop_reference(struct boxes *boxes, struct spool *spool)
{
	struct spool **at = &boxes->spools;

	if (--spool->references > 0)
		return false;
	while (*at != spool)
		at = &(*at)->next;
	*at = spool->next;
	boxes->count--;
	return true;
}

struct spool *spool_get(struct fs *fs, struct spool *spool)
{
	pthread_mutex_lock(&fs->boxes->lock);
	spool->references++;
	pthread_mutex_unlock(&fs->boxes->lock);
	return spool;
}

void spool_close(struct fs *fs, struct spool *spool)
{
	bool is_last;

	pthread_mutex_lock(&fs->boxes->lock);
	is_last = drop_reference(fs->boxes, spool);
	pthread_mutex_unlock(&fs->boxes->lock);
	if (!is_last)
		return;
	spool->discarding = (struct work){.run = destroy_in_worker};
	if (workers_submit(fs->workers, WORK_QUICK, &spool->discarding) < 0)
		destroy(spool);
}

void boxes_free(struct boxes *boxes)
{
	if (!boxes)
		return;
	while (boxes->spools) {
		struct spool *spool = boxes->spools;

		boxes->spools = spool->next;
		destroy(spool);
	}
	pthread_mutex_destroy(&boxes->lock);
	free(boxes);
}

/* Counts a new spool first, so that many at once don't pass the limit together. */
static int reserve(struct boxes *boxes, const struct box_kind *kind, bool is_kept)
{
	int r = 0;

	pthread_mutex_lock(&boxes->lock);
	if (boxes->count >= boxes->count_max)
		r = -ENFILE;
	else if (is_kept && boxes->kept_counts[kind->quota] >= KEPT_MAX)
		r = -ENOSPC;
	if (r == 0) {
		boxes->count++;
		boxes->kept_counts[kind->quota] += is_kept;
	}
	pthread_mutex_unlock(&boxes->lock);
	return r;
}

static void unreserve(struct boxes *boxes, const struct box_kind *kind, bool is_kept)
{
	pthread_mutex_lock(&boxes->lock);
	boxes->count--;
	boxes->kept_counts[kind->quota] -= is_kept;
	pthread_mutex_unlock(&boxes->lock);
}

static int make(struct fs *fs, struct spool **ret_spool)
{
	struct spool *spool = calloc(1, sizeof(*spool));
	int r;

	if (!spool)
		return -ENOMEM;
	r = store_spool(fs->engine->store, &spool->fd);
	if (r < 0) {
		free(spool);
		return r;
	}
	spool->fs = fs;
	*ret_spool = spool;
	return 0;
}

/*
 * Attempts that ended leave what they were writing behind. Looking for that each time the number
 * has doubled since the last look costs next to nothing, and bounds what is left.
 */
static void sweep_if_due(struct fs *fs, const struct box_kind *kind)
{
	struct boxes *boxes = fs->boxes;
	const size_t *count = &boxes->kept_counts[kind->quota];
	size_t *at = &boxes->sweep_at[kind->quota];
	bool is_due;

	if (!kind->is_stale)
		return;
	pthread_mutex_lock(&boxes->lock);
	is_due = *count >= *at;
	pthread_mutex_unlock(&boxes->lock);
	if (!is_due)
		return;
	spool_sweep(fs, kind, "");
	pthread_mutex_lock(&boxes->lock);
	*at = 2 * *count < KEPT_MAX ? 2 * *count : KEPT_MAX;
	if (*at < SWEEP_MIN)
		*at = SWEEP_MIN;
	pthread_mutex_unlock(&boxes->lock);
}

int spool_open(struct call *call, const struct box_kind *kind, const char *text,
	       struct spool **ret_spool)
{
	struct fs *fs = call->fs;
	struct boxes *boxes = fs->boxes;
	struct spool *spool = NULL;
	bool is_kept = box_is_dot(text);
	int r;

	if (is_kept)
		sweep_if_due(fs, kind);
	r = reserve(boxes, kind, is_kept);
	if (r < 0)
		return r;
	r = make(fs, &spool);
	if (r < 0) {
		unreserve(boxes, kind, is_kept);
		return r;
	}
	spool->kind = kind;
	strncpy(spool->name, text, NODE_TEXT_MAX);
	spool->is_dot = is_kept;
	atomic_init(&spool->is_kept, is_kept);
	spool->references = 1 + is_kept;
	spool->caller = call->caller;
	spool->caller.is_permitted = true;
	spool->attempt = call->attempt;
	if (kind->takes_any_bytes && !is_kept)
		spool->process = task_process(call->caller.pid);
	atomic_store(&spool->mode, call->mode & 0777);
	atomic_store(&spool->changed_ns, clock_wall_ns());
	pthread_mutex_lock(&boxes->lock);
	spool->next = boxes->spools;
	boxes->spools = spool;
	pthread_mutex_unlock(&boxes->lock);
	*ret_spool = spool;
	return 0;
}

/* With the boxes' lock. */
static struct spool *find_kept(struct boxes *boxes, const struct box_kind *kind, const char *name)
{
	struct spool *spool = boxes->spools;

	while (spool && (!spool->is_kept || spool->kind != kind || strcmp(spool->name, name) != 0))
		spool = spool->next;
	return spool;
}

struct spool *spool_find_kept(struct fs *fs, const struct box_kind *kind, const char *name)
{
	struct spool *spool;

	pthread_mutex_lock(&fs->boxes->lock);
	spool = find_kept(fs->boxes, kind, name);
	if (spool)
		spool->references++;
	pthread_mutex_unlock(&fs->boxes->lock);
	if (!spool || !kind->is_stale || !kind->is_stale(fs, spool))
		return spool;
	spool_unlink(fs, spool);
	spool_close(fs, spool);
	return NULL;
}

/*
 * Whether a name stands for this spool. From its first verdict on, a plain name stands for the
 * receipt, and once that is removed for nothing: the kernel tells the end of an open file late.
 */
static bool has_name(const struct spool *spool)
{
	return spool->is_kept || (spool->name[0] && !atomic_load(&spool->has_verdict));
}

static bool is_open_as(const struct spool *spool, const struct box_kind *kind, const char *name,
		       const struct caller *caller)
{
	if (spool->is_kept || spool->kind != kind || !has_name(spool))
		return false;
	if (caller && (caller->pid != spool->caller.pid || caller->uid != spool->caller.uid))
		return false;
	return strcmp(spool->name, name) == 0;
}

struct spool *spool_find_closing(struct fs *fs, const struct box_kind *kind, const char *leaf)
{
	struct spool *spool;

	pthread_mutex_lock(&fs->boxes->lock);
	spool = fs->boxes->spools;
	while (spool && (spool->kind != kind || spool->is_dot || atomic_load(&spool->size) > 0 ||
			 !atomic_load(&spool->is_closed_empty) || !has_name(spool) ||
			 strcmp(box_leaf(spool->name), leaf) != 0))
		spool = spool->next;
	if (spool)
		spool->references++;
	pthread_mutex_unlock(&fs->boxes->lock);
	return spool;
}

struct spool *spool_find_open(struct fs *fs, const struct box_kind *kind, const char *name,
			      const struct caller *caller)
{
	struct spool *spool;

	pthread_mutex_lock(&fs->boxes->lock);
	spool = fs->boxes->spools;
	while (spool && !is_open_as(spool, kind, name, caller))
		spool = spool->next;
	if (spool)
		spool->references++;
	pthread_mutex_unlock(&fs->boxes->lock);
	return spool;
}

/* With the boxes' lock: its name goes; the box's reference is the caller's to give back. */
static void unkeep(struct boxes *boxes, struct spool *spool)
{
	spool->is_kept = false;
	spool->name[0] = '\0';
	boxes->kept_counts[spool->kind->quota]--;
}

void spool_rename(struct fs *fs, struct spool *spool, const char *name)
{
	struct boxes *boxes = fs->boxes;
	struct spool *replaced;

	pthread_mutex_lock(&boxes->lock);
	replaced = find_kept(boxes, spool->kind, name);
	if (replaced == spool)
		replaced = NULL;
	if (replaced)
		unkeep(boxes, replaced);
	if (spool->is_kept)
		strncpy(spool->name, name, NODE_TEXT_MAX);
	pthread_mutex_unlock(&boxes->lock);
	if (replaced)
		spool_close(fs, replaced);
}

void spool_unlink(struct fs *fs, struct spool *spool)
{
	bool was_kept;

	pthread_mutex_lock(&fs->boxes->lock);
	was_kept = spool->is_kept;
	if (was_kept)
		unkeep(fs->boxes, spool);
	pthread_mutex_unlock(&fs->boxes->lock);
	if (was_kept)
		spool_close(fs, spool);
}

void spool_sweep(struct fs *fs, const struct box_kind *kind, const char *prefix)
{
	struct boxes *boxes = fs->boxes;
	struct spool *swept = NULL;

	pthread_mutex_lock(&boxes->lock);
	for (struct spool *spool = boxes->spools; spool; spool = spool->next) {
		if (spool->is_kept && spool->kind == kind &&
		    strncmp(spool->name, prefix, strlen(prefix)) == 0 &&
		    kind->is_stale(fs, spool)) {
			unkeep(boxes, spool);
			spool->next_swept = swept;
			swept = spool;
		}
	}
	pthread_mutex_unlock(&boxes->lock);
	while (swept) {
		struct spool *spool = swept;

		swept = spool->next_swept;
		spool_close(fs, spool);
	}
}

int spool_list(struct fs *fs, const struct box_kind *kind, const char *prefix,
	       struct listing *listing)
{
	size_t length = strlen(prefix);
	int r = 0;

	if (kind->is_stale)
		spool_sweep(fs, kind, prefix);
	pthread_mutex_lock(&fs->boxes->lock);
	for (struct spool *spool = fs->boxes->spools; spool && r == 0; spool = spool->next)
		if (spool->kind == kind && has_name(spool) &&
		    strncmp(spool->name, prefix, length) == 0 && !strchr(spool->name + length, '/'))
			r = listing_add(listing, spool->name + length);
	pthread_mutex_unlock(&fs->boxes->lock);
	return r;
}

/* With the boxes' lock. */
static void wait_for_turn(struct spool *spool, struct call *call)
{
	call->waiting = NULL;
	if (spool->last_waiting)
		spool->last_waiting->waiting = call;
	else
		spool->first_waiting = call;
	spool->last_waiting = call;
}

int spool_turn_begin(struct call *call, struct spool *spool)
{
	struct boxes *boxes = call->fs->boxes;
	struct call *kept = NULL;
	int r = 0;

	if (call->has_turn)
		return call->spool == spool ? 0 : -ESTALE;
	pthread_mutex_lock(&boxes->lock);
	if (spool->is_busy)
		r = call->may_block ? CALL_HELD : call_keep(call, &kept);
	if (r >= 0)
		spool->references++;
	if (r == CALL_HELD)
		kept = call;
	if (kept) {
		kept->spool = spool;
		wait_for_turn(spool, kept);
		r = CALL_HELD;
	} else if (r == 0) {
		spool->is_busy = true;
		call->spool = spool;
		call->has_turn = true;
	}
	pthread_mutex_unlock(&boxes->lock);
	return r;
}

/* Takes the next that waits, which has the turn then; NULL when nobody does. */
static struct call *next_turn(struct boxes *boxes, struct spool *spool)
{
	struct call *next;

	pthread_mutex_lock(&boxes->lock);
	next = spool->first_waiting;
	if (next) {
		spool->first_waiting = next->waiting;
		if (!spool->first_waiting)
			spool->last_waiting = NULL;
		next->has_turn = true;
	} else {
		spool->is_busy = false;
	}
	pthread_mutex_unlock(&boxes->lock);
	return next;
}

void spool_turn_end(struct call *call)
{
	struct spool *spool = call->spool;
	struct fs *fs = call->fs;
	struct call *next;

	if (!call->has_turn)
		return;
	call->has_turn = false;
	call->spool = NULL;
	while ((next = next_turn(fs->boxes, spool))) {
		int r = call_submit(next);

		if (r == 0)
			break;
		/*
		 * Nobody to run it: it is answered here, and the turn goes on to the one behind it.
		 */
		call_fail(next, r);
		call_end(next);
		spool_close(fs, spool);
	}
	spool_close(fs, spool);
}

static int spoil(struct spool *spool, int error)
{
	spool->write_error = error == -EDQUOT ? -ENOSPC : error;
	spool->changes++;
	return spool->write_error;
}

int spool_write(struct spool *spool, const void *data, size_t size, uint64_t offset)
{
	uint64_t limit = spool->kind->limit(spool->fs);
	size_t done = 0;

	if (offset > limit || size > limit - offset)
		return spoil(spool, -EFBIG);
	while (done < size) {
		ssize_t n = pwrite(spool->fd, (const char *)data + done, size - done,
				   (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return spoil(spool, n < 0 ? -errno : -EIO);
		done += (size_t)n;
	}
	spool->changes++;
	if (offset + size > atomic_load(&spool->size))
		atomic_store(&spool->size, offset + size);
	atomic_store(&spool->changed_ns, clock_wall_ns());
	return 0;
}

int spool_truncate(struct spool *spool, uint64_t size)
{
	if (size > spool->kind->limit(spool->fs))
		return spoil(spool, -EFBIG);
	if (ftruncate(spool->fd, (off_t)size) < 0)
		return spoil(spool, -errno);
	if (size == 0)
		spool->write_error = 0;
	if (size != atomic_load(&spool->size) || size > 0)
		spool->changes++;
	atomic_store(&spool->size, size);
	atomic_store(&spool->changed_ns, clock_wall_ns());
	return 0;
}

void spool_forget_prepared(struct spool *spool)
{
	deploy_discard(spool->prepared);
	spool->prepared = NULL;
	spool->prepare_error = 0;
}
