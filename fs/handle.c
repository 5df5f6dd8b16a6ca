/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the list of open files and directories. Invariant: what a handle holds (a version, a spool,
 * a text) is given back exactly once, when the handle goes.
 */
#include "fs/handle.h"

#include <stdlib.h>

#include "fs/spool.h"

struct handles {
	pthread_mutex_t lock;
	struct handle *first;
};

struct handles *handles_new(void)
{
	struct handles *handles = calloc(1, sizeof(*handles));

	if (handles)
		pthread_mutex_init(&handles->lock, NULL);
	return handles;
}

struct handle *handle_new(struct fs *fs, enum handle_kind kind)
{
	struct handles *handles = fs->handles;
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	atomic_init(&handle->references, 1);
	handle->kind = kind;
	pthread_mutex_init(&handle->lock, NULL);
	pthread_mutex_lock(&handles->lock);
	handle->next = handles->first;
	if (handle->next)
		handle->next->previous = handle;
	handles->first = handle;
	pthread_mutex_unlock(&handles->lock);
	return handle;
}

struct handle *handle_get(struct handle *handle)
{
	atomic_fetch_add(&handle->references, 1);
	return handle;
}

void handle_put(struct fs *fs, struct handle *handle)
{
	struct handles *handles = fs->handles;

	if (atomic_fetch_sub(&handle->references, 1) > 1)
		return;
	pthread_mutex_lock(&handles->lock);
	if (handle->previous)
		handle->previous->next = handle->next;
	else
		handles->first = handle->next;
	if (handle->next)
		handle->next->previous = handle->previous;
	pthread_mutex_unlock(&handles->lock);
	listing_clear(&handle->listing);
	if (handle->spool)
		spool_close(fs, handle->spool);
	version_put(handle->version);
	free(handle->text);
	free(handle->node);
	pthread_mutex_destroy(&handle->lock);
	free(handle);
}

void handles_free(struct fs *fs, struct handles *handles)
{
	if (!handles)
		return;
	while (handles->first)
		handle_put(fs, handles->first);
	pthread_mutex_destroy(&handles->lock);
	free(handles);
}

struct version *handles_find_version(struct fs *fs, uint32_t slot)
{
	struct handles *handles = fs->handles;
	struct version *version = NULL;

	pthread_mutex_lock(&handles->lock);
	for (struct handle *handle = handles->first; handle && !version; handle = handle->next)
		if (handle->version && handle->version->slot == slot)
			version = version_get(handle->version);
	pthread_mutex_unlock(&handles->lock);
	return version;
}
