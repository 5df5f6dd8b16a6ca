/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the tree as a whole: its parts come up together, are drained together, and go in reverse
 * order.
 */
#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/runs.h"
#include "fs/archive.h"
#include "fs/box.h"
#include "fs/failures.h"
#include "fs/handle.h"
#include "fs/links.h"
#include "fs/spool.h"

#define QUICK_THREADS 4
#define DECODE_THREADS 4
#define RUNS_THREADS 16 /* so many commits of runs can share a transaction */
#define QUICK_MAX 16384
#define DECODE_MAX 256
#define RUNS_MAX 65536

static int make_parts(struct fs *fs)
{
	const struct workers_options options = {
	    .threads = {[WORK_QUICK] = QUICK_THREADS,
			[WORK_DECODE] = DECODE_THREADS,
			[WORK_RUNS] = RUNS_THREADS},
	    .queue_max =
		{[WORK_QUICK] = QUICK_MAX, [WORK_DECODE] = DECODE_MAX, [WORK_RUNS] = RUNS_MAX},
	};

	fs->nodes = node_table_new();
	fs->handles = handles_new();
	fs->archives = archives_new();
	fs->boxes = boxes_new();
	fs->links = links_new();
	fs->failures = failures_new();
	if (!fs->nodes || !fs->handles || !fs->archives || !fs->boxes || !fs->links ||
	    !fs->failures)
		return -ENOMEM;
	return workers_new(&options, &fs->workers);
}

/* What an attempt asked for and did not record is of no use to anybody. */
static void sweep_steps(void *context, const char *run)
{
	char prefix[RUN_ID_MAX + 2];

	snprintf(prefix, sizeof(prefix), "%s/", run);
	spool_sweep(context, &box_step, prefix);
}

int fs_new(struct engine *engine, const struct fs_options *options, struct fs **ret_fs,
	   struct reason *reason)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs)
		return reason_set(reason, ENOMEM, "no_memory", "no memory left for the mount");
	fs->engine = engine;
	fs->options = *options;
	pthread_mutex_init(&fs->calls_lock, NULL);
	pthread_mutex_init(&fs->held_lock, NULL);
	r = make_parts(fs);
	if (r < 0) {
		fs_free(fs);
		return reason_set(reason, -r, "no_memory",
				  "the mount's threads and tables cannot be made: %s",
				  strerror(-r));
	}
	engine_on_attempt_end(engine, sweep_steps, fs);
	*ret_fs = fs;
	return 0;
}

void fs_drain(struct fs *fs)
{
	if (!fs->workers)
		return;
	call_cancel_all(fs);
	workers_drain(fs->workers);
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	engine_on_attempt_end(fs->engine, NULL, NULL);
	fs_drain(fs);
	handles_free(fs, fs->handles);
	boxes_free(fs->boxes);
	archives_free(fs, fs->archives);
	links_free(fs->links);
	failures_free(fs->failures);
	workers_free(fs->workers);
	node_table_free(fs->nodes);
	pthread_mutex_destroy(&fs->held_lock);
	pthread_mutex_destroy(&fs->calls_lock);
	free(fs);
}
