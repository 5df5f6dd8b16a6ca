/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache of parsed indexes. `lock` guards the list and every tree's count of users; loading and
 * parsing happen outside of it, and two threads that load the same index at once both succeed: the
 * second tree is thrown away.
 */
#include "engine/forest.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/audit.h"
#include "engine/log.h"
#include "engine/pin.h"
#include "engine/quarantine.h"
#include "store/contents.h"

#define BUDGET_BYTES (64u * 1024 * 1024)

struct planted {
	struct tree *tree;
	struct version *version; /* no reference: the version drops its tree before it goes */
	uint64_t bytes;
	unsigned users;
	struct planted *older, *newer; /* by last use */
};

struct forest {
	pthread_mutex_t lock;
	struct planted *oldest, *newest;
	uint64_t bytes;
};

struct forest *forest_new(void)
{
	struct forest *forest = calloc(1, sizeof(*forest));

	if (forest)
		pthread_mutex_init(&forest->lock, NULL);
	return forest;
}

static void unlink_planted(struct forest *forest, struct planted *planted)
{
	if (planted->older)
		planted->older->newer = planted->newer;
	else
		forest->oldest = planted->newer;
	if (planted->newer)
		planted->newer->older = planted->older;
	else
		forest->newest = planted->older;
	planted->older = planted->newer = NULL;
}

static void link_newest(struct forest *forest, struct planted *planted)
{
	planted->older = forest->newest;
	if (forest->newest)
		forest->newest->newer = planted;
	else
		forest->oldest = planted;
	forest->newest = planted;
}

/* Takes it out of list and version; the caller frees it with fell(). */
static void uproot(struct forest *forest, struct planted *planted)
{
	unlink_planted(forest, planted);
	forest->bytes -= planted->bytes;
	atomic_store(&planted->version->tree, NULL);
}

static void fell(struct planted *planted)
{
	if (!planted)
		return;
	tree_free(planted->tree);
	free(planted);
}

void forest_free(struct forest *forest)
{
	if (!forest)
		return;
	while (forest->oldest) {
		struct planted *planted = forest->oldest;

		uproot(forest, planted);
		fell(planted);
	}
	pthread_mutex_destroy(&forest->lock);
	free(forest);
}

/* The cached tree with one more user, or NULL. */
static struct planted *use_cached(struct forest *forest, struct version *version)
{
	struct planted *planted;

	pthread_mutex_lock(&forest->lock);
	planted = atomic_load(&version->tree);
	if (planted) {
		planted->users++;
		if (forest->newest != planted) {
			unlink_planted(forest, planted);
			link_newest(forest, planted);
		}
	}
	pthread_mutex_unlock(&forest->lock);
	return planted;
}

static int load_tree(struct version *version, struct tree **ret_tree, struct reason *reason)
{
	size_t length;
	char *text;
	int error = contents_load(version->store, &version->digest, (size_t)version->index_bytes,
				  &text, &length, reason);

	if (error)
		return error;
	return tree_new(text, length, ret_tree, reason);
}

/* Frees what nobody uses until the budget holds; the list of the felled is returned. */
static struct planted *thin_out(struct forest *forest)
{
	struct planted *felled = NULL, *planted = forest->oldest, *next;

	for (; planted && forest->bytes > BUDGET_BYTES; planted = next) {
		next = planted->newer;
		if (planted->users > 0)
			continue;
		uproot(forest, planted);
		planted->newer = felled;
		felled = planted;
	}
	return felled;
}

static struct planted *plant(struct forest *forest, struct version *version, struct tree *tree)
{
	struct planted *planted = calloc(1, sizeof(*planted)), *other, *felled;

	if (!planted) {
		tree_free(tree);
		return NULL;
	}
	*planted = (struct planted){.tree = tree, .version = version, .users = 1};
	planted->bytes = tree_memory(tree) + sizeof(*planted);
	pthread_mutex_lock(&forest->lock);
	other = atomic_load(&version->tree);
	if (other) {
		other->users++;
		felled = planted;
	} else {
		atomic_store(&version->tree, planted);
		link_newest(forest, planted);
		forest->bytes += planted->bytes;
		felled = thin_out(forest);
	}
	pthread_mutex_unlock(&forest->lock);
	while (felled) {
		struct planted *next = felled->newer;

		fell(felled);
		felled = next;
	}
	return other ? other : planted;
}

static void tell_damage(struct engine *engine, struct version *version, struct reason *reason)
{
	bool was_damaged = atomic_exchange(&version->is_damaged, true);

	if (!was_damaged)
		pin_version_changed(engine, version->type, &version->digest, false);
	if (!reason)
		return;
	reason_prefix(reason, "the index is damaged; deploy the archive again to repair it");
	quarantine_add(engine, version->type, version->hex, reason);
	if (!was_damaged)
		log_note(engine, "index_damaged", true,
			 json_pack("{s:s, s:s, s:s, s:o}", "type", version->type, "version",
				   version->hex, "code", reason->code, "message",
				   audit_string(reason->message)));
}

int forest_get(struct engine *engine, struct version *version, bool cached_only,
	       const struct tree **ret_tree, struct reason *reason)
{
	struct planted *planted = use_cached(engine->forest, version);
	struct tree *tree;
	int error;

	if (!planted && cached_only)
		return -EAGAIN;
	if (!planted) {
		error = load_tree(version, &tree, reason);
		if (error == -ENOMEM)
			return error;
		if (error) {
			tell_damage(engine, version, reason);
			return -EIO;
		}
		planted = plant(engine->forest, version, tree);
		if (!planted)
			return -ENOMEM;
	}
	*ret_tree = planted->tree;
	return 0;
}

void forest_put(struct engine *engine, struct version *version, const struct tree *tree)
{
	struct planted *planted;

	(void)tree; /* it is the version's: a tree in use is never replaced */
	pthread_mutex_lock(&engine->forest->lock);
	planted = atomic_load(&version->tree);
	planted->users--;
	pthread_mutex_unlock(&engine->forest->lock);
}

void forest_drop(struct engine *engine, struct version *version)
{
	struct forest *forest = engine->forest;
	struct planted *planted;

	pthread_mutex_lock(&forest->lock);
	planted = atomic_load(&version->tree);
	if (planted)
		uproot(forest, planted);
	pthread_mutex_unlock(&forest->lock);
	fell(planted);
}
