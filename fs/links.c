/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the staged links. Few, short-lived, and bounded: what a crashed tool leaves goes with the
 * mount.
 */
#include "fs/links.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "fs/node.h"

#define LINKS_MAX 1024

struct link {
	struct link *next;
	char name[NODE_NAME_MAX + 1];
	char *target; /* NULL for the empty file */
	int64_t made_ns;
};

struct links {
	pthread_mutex_t lock;
	struct link *first;
	size_t count;
};

struct links *links_new(void)
{
	struct links *links = calloc(1, sizeof(*links));

	if (links)
		pthread_mutex_init(&links->lock, NULL);
	return links;
}

static void link_free(struct link *link)
{
	free(link->target);
	free(link);
}

void links_free(struct links *links)
{
	if (!links)
		return;
	while (links->first) {
		struct link *link = links->first;

		links->first = link->next;
		link_free(link);
	}
	pthread_mutex_destroy(&links->lock);
	free(links);
}

/* With the lock: where the link hangs, so that it can be taken out; points at NULL when absent. */
static struct link **find(struct links *links, const char *name)
{
	struct link **at = &links->first;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static void take_out(struct links *links, struct link **at)
{
	struct link *link = *at;

	*at = link->next;
	links->count--;
	link_free(link);
}

int links_get(struct links *links, const char *name, struct staged *ret_staged)
{
	const struct link *link;

	pthread_mutex_lock(&links->lock);
	link = *find(links, name);
	if (link) {
		ret_staged->is_link = link->target;
		ret_staged->made_ns = link->made_ns;
		strcpy(ret_staged->target, link->target ? link->target : "");
	}
	pthread_mutex_unlock(&links->lock);
	return link ? 0 : -ENOENT;
}

static struct link *link_new(const char *name, const char *target)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	strcpy(link->name, name);
	link->made_ns = clock_wall_ns();
	link->target = target ? strdup(target) : NULL;
	if (target && !link->target) {
		free(link);
		return NULL;
	}
	return link;
}

int links_add(struct links *links, const char *name, const char *target)
{
	struct link *link;
	int r = 0;

	if (strlen(name) > NODE_NAME_MAX ||
	    (target && strlen(target) >= sizeof(((struct staged *)NULL)->target)))
		return -ENAMETOOLONG;
	link = link_new(name, target);
	if (!link)
		return -ENOMEM;
	pthread_mutex_lock(&links->lock);
	if (*find(links, name)) {
		r = -EEXIST;
	} else if (links->count >= LINKS_MAX) {
		r = -ENOSPC;
	} else {
		link->next = links->first;
		links->first = link;
		links->count++;
	}
	pthread_mutex_unlock(&links->lock);
	if (r < 0)
		link_free(link);
	return r;
}

int links_remove(struct links *links, const char *name)
{
	struct link **at;
	int r = 0;

	pthread_mutex_lock(&links->lock);
	at = find(links, name);
	if (*at)
		take_out(links, at);
	else
		r = -ENOENT;
	pthread_mutex_unlock(&links->lock);
	return r;
}

int links_rename(struct links *links, const char *name, const char *new_name, bool no_replace)
{
	struct link *link, **taken;
	int r = 0;

	if (strlen(new_name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&links->lock);
	link = *find(links, name);
	taken = find(links, new_name);
	if (!link)
		r = -ENOENT;
	else if (*taken && no_replace)
		r = -EEXIST;
	else if (*taken != link) {
		if (*taken)
			take_out(links, taken);
		strcpy(link->name, new_name);
	}
	pthread_mutex_unlock(&links->lock);
	return r;
}

int links_list(struct links *links, struct listing *listing)
{
	int r = 0;

	pthread_mutex_lock(&links->lock);
	for (struct link *link = links->first; link && r == 0; link = link->next)
		r = listing_add(listing, link->name);
	pthread_mutex_unlock(&links->lock);
	return r;
}
