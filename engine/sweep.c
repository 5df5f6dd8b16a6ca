/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread that gives the contents of unloaded versions back to the store. The queue is chained
 * through the versions themselves, so that queueing needs no memory and can't fail. What a crash
 * leaves in it is finished by the next mount (store/contents.h, contents_hold).
 */
#include "engine/sweep.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/forest.h"
#include "engine/log.h"
#include "store/contents.h"

struct sweep {
	struct engine *engine;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct version *queue;
	uint64_t queued, done; /* how many ever */
	bool is_closing;
	pthread_t thread;
};

static void release(struct engine *engine, struct version *version)
{
	struct reason reason = {0};
	int error = 0;

	uint64_t hold = atomic_load(&version->unload_hold);

	if (hold)
		error = contents_release(version->store, hold, &reason);
	if (error)
		log_note(engine, "release_failed", true,
			 json_pack("{s:s, s:s, s:s, s:s}", "type", version->type, "version",
				   version->hex, "message", reason.message, "remedy",
				   "its space is freed by the next mount"));
	forest_drop(engine, version);
	version_free(version);
}

static void *run(void *argument)
{
	struct sweep *sweep = argument;

	pthread_mutex_lock(&sweep->lock);
	for (;;) {
		struct version *version = sweep->queue;

		if (version) {
			sweep->queue = version->chain;
			pthread_mutex_unlock(&sweep->lock);
			release(sweep->engine, version);
			pthread_mutex_lock(&sweep->lock);
			sweep->done++;
			pthread_cond_broadcast(&sweep->changed);
		} else if (sweep->is_closing) {
			break;
		} else {
			pthread_cond_wait(&sweep->changed, &sweep->lock);
		}
	}
	pthread_mutex_unlock(&sweep->lock);
	return NULL;
}

int sweep_open(struct engine *engine)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));
	int error;

	if (!sweep)
		return -ENOMEM;
	sweep->engine = engine;
	pthread_mutex_init(&sweep->lock, NULL);
	pthread_cond_init(&sweep->changed, NULL);
	error = pthread_create(&sweep->thread, NULL, run, sweep);
	if (error) {
		free(sweep);
		return -error;
	}
	engine->sweep = sweep;
	return 0;
}

void sweep_close(struct sweep *sweep)
{
	if (!sweep)
		return;
	pthread_mutex_lock(&sweep->lock);
	sweep->is_closing = true;
	pthread_cond_broadcast(&sweep->changed);
	pthread_mutex_unlock(&sweep->lock);
	pthread_join(sweep->thread, NULL);
	pthread_cond_destroy(&sweep->changed);
	pthread_mutex_destroy(&sweep->lock);
	free(sweep);
}

void sweep_version(void *context, struct version *version)
{
	struct sweep *sweep = ((struct engine *)context)->sweep;

	pthread_mutex_lock(&sweep->lock);
	version->chain = sweep->queue;
	sweep->queue = version;
	sweep->queued++;
	pthread_cond_broadcast(&sweep->changed);
	pthread_mutex_unlock(&sweep->lock);
}

void sweep_wait(struct engine *engine)
{
	struct sweep *sweep = engine->sweep;
	uint64_t until;

	pthread_mutex_lock(&sweep->lock);
	until = sweep->queued;
	while (sweep->done < until)
		pthread_cond_wait(&sweep->changed, &sweep->lock);
	pthread_mutex_unlock(&sweep->lock);
}
