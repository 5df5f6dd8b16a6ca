/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking contents: on demand, and by the scrub, a thread of the lowest priority that goes through
 * the routed and pinned versions first. What is found bad is told once, in the log and in quarantine/, for each
 * version that shares it; finding the sharers reads every index, so the scrub's thread does it.
 */
#include "engine/verify.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/forest.h"
#include "engine/log.h"
#include "engine/pin.h"
#include "engine/quarantine.h"
#include "store/contents.h"

#define BAD_MAX 256

struct scrub {
	struct engine *engine;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct digest bad[BAD_MAX]; /* found, its sharers not looked for yet */
	size_t bad_count;
	bool must_recheck; /* something was repaired: damaged versions may be whole again */
	bool is_closing;
	_Atomic uint64_t verified;
	pthread_t thread;
};

static void tell_damage(struct engine *engine, struct version *version, const char *path,
			const struct digest *digest, const struct reason *why)
{
	struct reason reason = *why, named = {0};
	char hex[DIGEST_HEX + 1];

	/* The path is the archive's: no byte of it may end a line here, or spoil its UTF-8. */
	reason_name_entry(&named, path, strlen(path));
	reason_set(&reason, EIO, why->code,
		   "%.200s (content %s) of %s/%s is damaged; reading it gives EIO; deploy the same "
		   "archive again to repair it",
		   named.entry, digest_hex(digest, hex), version->type, version->hex);
	atomic_store(&version->is_damaged, true);
	quarantine_add(engine, version->type, version->hex, &reason);
	pin_version_changed(engine, version->type, &version->digest, false);
	log_note(engine, "content_damaged", true,
		 json_pack("{s:s, s:s, s:s*, s:s}", "type", version->type, "version", version->hex,
			   "content", hex, "message", reason.message));
}

static void queue_bad(struct engine *engine, const struct digest *digest)
{
	struct scrub *scrub = engine->scrub;

	if (!scrub)
		return;
	pthread_mutex_lock(&scrub->lock);
	if (scrub->bad_count < BAD_MAX) {
		scrub->bad[scrub->bad_count++] = *digest;
		pthread_cond_signal(&scrub->changed);
	}
	pthread_mutex_unlock(&scrub->lock);
}

int verify_file(struct engine *engine, struct version *version, const struct digest *digest,
		uint64_t size, const char *path, bool cached_only, struct reason *reason)
{
	struct reason why = {0};
	int error;

	switch (contents_verdict(version->store, digest)) {
	case CONTENT_GOOD:
		return 0;
	case CONTENT_BAD:
		reason_set(&why, EIO, "content_damaged", "%s is damaged", path);
		if (!atomic_load(&version->is_damaged))
			tell_damage(engine, version, path, digest, &why);
		if (reason)
			*reason = why;
		return -EIO;
	case CONTENT_UNKNOWN:
		break;
	}
	if (cached_only)
		return -EAGAIN;
	error = contents_verify(version->store, digest, size, &why);
	if (!error)
		return 0;
	if (reason)
		*reason = why;
	if (error == -ENOMEM)
		return error; /* it was not looked at: nothing is known to be wrong */
	tell_damage(engine, version, path, digest, &why);
	queue_bad(engine, digest);
	return -EIO;
}

static int verify_tree(struct engine *engine, struct version *version, const struct tree *tree,
		       struct reason *reason)
{
	char path[INDEX_PATH_MAX + 1];
	int error = 0;

	for (uint32_t i = 0; i < tree_count(tree) && !error; i++) {
		const struct tree_node *node = tree_node(tree, i);

		if (node->kind != INDEX_FILE)
			continue;
		tree_path(tree, i, path, sizeof(path));
		error = verify_file(engine, version, &node->digest, node->size, path, false,
				    reason);
	}
	return error;
}

int verify_version(struct engine *engine, struct version *version, struct reason *reason)
{
	const struct tree *tree;
	int error;

	if (atomic_load(&version->is_verified))
		return atomic_load(&version->is_damaged) ? -EIO : 0;
	error = forest_get(engine, version, false, &tree, reason);
	if (error)
		return error;
	error = verify_tree(engine, version, tree, reason);
	forest_put(engine, version, tree);
	if (!error)
		atomic_store(&version->is_verified, true);
	return error;
}

/* ---- the scrub ---- */

static bool should_stop(struct scrub *scrub)
{
	bool stop;

	pthread_mutex_lock(&scrub->lock);
	stop = scrub->is_closing;
	pthread_mutex_unlock(&scrub->lock);
	return stop;
}

/*
 * The slots of what is loaded now. Not references: those would keep the contents of every version
 * that is unloaded meanwhile.
 */
static int list_slots(struct engine *engine, uint32_t **ret_slots, size_t *ret_count)
{
	struct version_list list;
	int error = catalog_list_versions(engine->catalog, NULL, &list);

	if (error)
		return error;
	*ret_count = list.count;
	*ret_slots = malloc((list.count + 1) * sizeof(**ret_slots));
	for (size_t i = 0; *ret_slots && i < list.count; i++)
		(*ret_slots)[i] = list.versions[i]->slot;
	catalog_list_free(&list);
	return *ret_slots ? 0 : -ENOMEM;
}

static void damage_if_shared(struct engine *engine, struct version *version,
			     const struct digest *digest)
{
	const struct reason why = {.code = "content_damaged"};
	char hex[DIGEST_HEX + 1];
	size_t length;
	char *text;

	if (atomic_load(&version->is_damaged) ||
	    contents_load(version->store, &version->digest, (size_t)version->index_bytes, &text,
			  &length, NULL) != 0)
		return;
	if (memmem(text, length, digest_hex(digest, hex), DIGEST_HEX))
		tell_damage(engine, version, "a file that it shares", digest, &why);
	free(text);
}

/* Each version whose index names the content is damaged with it. */
static void find_sharers(struct engine *engine, const struct digest *digest)
{
	uint32_t *slots;
	size_t count;

	if (list_slots(engine, &slots, &count) != 0)
		return;
	for (size_t i = 0; i < count && !should_stop(engine->scrub); i++) {
		struct version *version = catalog_find_slot(engine->catalog, slots[i]);

		if (version)
			damage_if_shared(engine, version, digest);
		version_put(version);
	}
	free(slots);
}

static void work_off_bad(struct scrub *scrub)
{
	struct digest digest;
	bool some;

	do {
		pthread_mutex_lock(&scrub->lock);
		some = scrub->bad_count > 0;
		if (some)
			digest = scrub->bad[--scrub->bad_count];
		pthread_mutex_unlock(&scrub->lock);
		if (some)
			find_sharers(scrub->engine, &digest);
	} while (some && !should_stop(scrub));
}

static bool is_whole(struct version *version, const struct tree *tree)
{
	for (uint32_t i = 0; i < tree_count(tree); i++) {
		const struct tree_node *node = tree_node(tree, i);

		if (node->kind == INDEX_FILE &&
		    contents_verdict(version->store, &node->digest) == CONTENT_BAD)
			return false;
	}
	return true;
}

static void recheck_version(struct engine *engine, struct version *version)
{
	const struct tree *tree;

	if (!atomic_load(&version->is_damaged) ||
	    forest_get(engine, version, false, &tree, NULL) != 0)
		return;
	if (is_whole(version, tree)) {
		atomic_store(&version->is_damaged, false);
		quarantine_remove(engine, version->type, version->hex);
		pin_version_changed(engine, version->type, &version->digest, true);
		log_note(engine, "repaired", true,
			 json_pack("{s:s, s:s}", "type", version->type, "version", version->hex));
	}
	forest_put(engine, version, tree);
}

/* A repaired content repairs every version that shares it. */
static void recheck_all(struct scrub *scrub)
{
	uint32_t *slots;
	size_t count;
	bool wanted;

	pthread_mutex_lock(&scrub->lock);
	wanted = scrub->must_recheck;
	scrub->must_recheck = false;
	pthread_mutex_unlock(&scrub->lock);
	if (!wanted || list_slots(scrub->engine, &slots, &count) != 0)
		return;
	for (size_t i = 0; i < count && !should_stop(scrub); i++) {
		struct version *version = catalog_find_slot(scrub->engine->catalog, slots[i]);

		if (version)
			recheck_version(scrub->engine, version);
		version_put(version);
	}
	free(slots);
}

/* The files of one version. Paths are only names here: the parent's is enough to find it. */
static void scrub_version(struct scrub *scrub, struct version *version)
{
	struct engine *engine = scrub->engine;
	const struct tree *tree;
	struct reason reason = {0};
	char name[512];

	if (forest_get(engine, version, false, &tree, &reason) != 0)
		return;
	for (uint32_t i = 0; i < tree_count(tree) && !should_stop(scrub); i++) {
		const struct tree_node *node = tree_node(tree, i);

		if (atomic_load(&version->unload_hold))
			break;
		if (node->kind != INDEX_FILE)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)node->name_length, node->name);
		verify_file(engine, version, &node->digest, node->size, name, false, NULL);
		atomic_fetch_add(&scrub->verified, 1);
		work_off_bad(scrub);
	}
	forest_put(engine, version, tree);
}

/* What new starts and unfinished runs use is looked at first. */
static bool is_in_use(struct engine *engine, const struct version *version)
{
	struct digest routed;

	if (atomic_load(&version->pins))
		return true;
	return catalog_route(engine->catalog, version->type, &routed) == 0 &&
	       digest_equal(&routed, &version->digest);
}

static void scrub_all(struct scrub *scrub)
{
	struct engine *engine = scrub->engine;
	uint32_t *slots;
	size_t count;

	if (engine->options.no_scrub || list_slots(engine, &slots, &count) != 0)
		return;
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < count && !should_stop(scrub); i++) {
			struct version *version = catalog_find_slot(engine->catalog, slots[i]);

			if (version && is_in_use(engine, version) == (pass == 0))
				scrub_version(scrub, version);
			version_put(version);
		}
	}
	free(slots);
}

static void *run(void *argument)
{
	struct scrub *scrub = argument;

	/* Readers and deploys go first: setpriority(2) with a thread id, Linux only. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
	scrub_all(scrub);
	pthread_mutex_lock(&scrub->lock);
	while (!scrub->is_closing) {
		if (scrub->bad_count == 0 && !scrub->must_recheck) {
			pthread_cond_wait(&scrub->changed, &scrub->lock);
			continue;
		}
		pthread_mutex_unlock(&scrub->lock);
		work_off_bad(scrub);
		recheck_all(scrub);
		pthread_mutex_lock(&scrub->lock);
	}
	pthread_mutex_unlock(&scrub->lock);
	return NULL;
}

int scrub_open(struct engine *engine)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));
	int error;

	if (!scrub)
		return -ENOMEM;
	scrub->engine = engine;
	pthread_mutex_init(&scrub->lock, NULL);
	pthread_cond_init(&scrub->changed, NULL);
	engine->scrub = scrub;
	error = pthread_create(&scrub->thread, NULL, run, scrub);
	if (error) {
		engine->scrub = NULL;
		free(scrub);
	}
	return -error;
}

void scrub_close(struct scrub *scrub)
{
	if (!scrub)
		return;
	pthread_mutex_lock(&scrub->lock);
	scrub->is_closing = true;
	pthread_cond_broadcast(&scrub->changed);
	pthread_mutex_unlock(&scrub->lock);
	pthread_join(scrub->thread, NULL);
	pthread_cond_destroy(&scrub->changed);
	pthread_mutex_destroy(&scrub->lock);
	free(scrub);
}

void scrub_recheck(struct engine *engine)
{
	struct scrub *scrub = engine->scrub;

	if (!scrub)
		return;
	pthread_mutex_lock(&scrub->lock);
	scrub->must_recheck = true;
	pthread_cond_signal(&scrub->changed);
	pthread_mutex_unlock(&scrub->lock);
}

uint64_t scrub_verified(const struct engine *engine)
{
	return engine->scrub ? atomic_load(&engine->scrub->verified) : 0;
}
