/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the receipts of failed starts: a ring of a size at which looking through it costs nothing.
 */
#include "fs/failures.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FAILURES_MAX 1000

struct slot {
	uint64_t hash;
	char *name; /* NULL: empty */
	struct failure failure;
};

struct failures {
	pthread_mutex_t lock;
	size_t next; /* the slot that is the oldest */
	struct slot slots[FAILURES_MAX];
};

struct failures *failures_new(void)
{
	struct failures *failures = calloc(1, sizeof(*failures));

	if (failures)
		pthread_mutex_init(&failures->lock, NULL);
	return failures;
}

static void clear(struct slot *slot)
{
	free(slot->name);
	free(slot->failure.text);
	memset(slot, 0, sizeof(*slot));
}

void failures_free(struct failures *failures)
{
	if (!failures)
		return;
	for (size_t i = 0; i < FAILURES_MAX; i++)
		clear(&failures->slots[i]);
	pthread_mutex_destroy(&failures->lock);
	free(failures);
}

static uint64_t hash_name(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return hash;
}

/* With the lock. */
static struct slot *find(struct failures *failures, const char *name, uint64_t hash)
{
	for (size_t i = 0; i < FAILURES_MAX; i++) {
		struct slot *slot = &failures->slots[i];

		if (slot->hash == hash && slot->name && strcmp(slot->name, name) == 0)
			return slot;
	}
	return NULL;
}

void failures_add(struct failures *failures, const char *name, const struct failure *failure)
{
	struct slot slot = {.hash = hash_name(name), .name = strdup(name), .failure = *failure};
	struct slot *older;

	if (!slot.name) {
		free(failure->text);
		return;
	}
	pthread_mutex_lock(&failures->lock);
	older = find(failures, name, slot.hash);
	if (older)
		clear(older);
	clear(&failures->slots[failures->next]);
	failures->slots[failures->next] = slot;
	failures->next = (failures->next + 1) % FAILURES_MAX;
	pthread_mutex_unlock(&failures->lock);
}

int failures_get(struct failures *failures, const char *name, struct failure *ret_failure)
{
	const struct slot *slot;
	int r = -ENOENT;

	pthread_mutex_lock(&failures->lock);
	slot = find(failures, name, hash_name(name));
	if (slot) {
		*ret_failure = slot->failure;
		if (slot->failure.text)
			ret_failure->text = strdup(slot->failure.text);
		r = ret_failure->text || !slot->failure.text ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&failures->lock);
	return r;
}

int failures_remove(struct failures *failures, const char *name)
{
	struct slot *slot;

	pthread_mutex_lock(&failures->lock);
	slot = find(failures, name, hash_name(name));
	if (slot)
		clear(slot);
	pthread_mutex_unlock(&failures->lock);
	return slot ? 0 : -ENOENT;
}
