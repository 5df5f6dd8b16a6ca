/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CATALOG_H
#define ENGINE_CATALOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/manifest.h"
#include "store/rows.h"

/*
 * The in-memory view of loaded versions and routes. Readers take a read lock for the time of a table
 * look-up; publishing a change takes the write lock for as long, and never across a commit, a
 * decode or a hash. What a reader got stays valid through its reference.
 */
struct catalog;

/* A loaded version. Everything but `changed_*` is set before it is published and never changes. */
struct version {
	char type[TYPE_MAX + 1];
	struct digest digest;
	char hex[DIGEST_HEX + 1];
	uint32_t slot;        /* its number in this mount, from 1; never used again after an unload */
	struct store *store;  /* where its contents are: the state's store, or the operator packages' */
	bool is_operator;     /* came from -o package=FILE: nothing of it is persisted */
	struct manifest manifest;
	uint64_t entries, bytes, index_bytes;
	int64_t first_ns; /* the time of everything in it */
	uint32_t uid;
	bool has_executable; /* bin/<entry_function> can be run */
	bool has_signature;
	struct digest signature;
	uint64_t signature_bytes;

	_Atomic int64_t last_ns;    /* latest deploy: the time of its directory */
	_Atomic uint64_t deployed;  /* change number of the latest deploy through deploy/, or 0 */
	_Atomic uint64_t changed;   /* change number of the latest deploy or stage */
	_Atomic bool is_damaged;    /* a content of it failed its check in this mount */
	_Atomic uint32_t references;
	_Atomic uint32_t pins;	    /* unfinished runs and starts under way; taken under the type's lock */
	_Atomic bool is_verified;   /* all its contents were found good in this mount */
	_Atomic(void *) tree; /* owned by engine/forest.c */
	struct catalog *catalog;
	struct version *chain; /* the next in the catalog's bucket, or in the sweeper's queue */
	_Atomic uint64_t unload_hold; /* contents_hold number to release with the last reference, or 0 */
};

/*
 * `gone` is called with each version whose last reference went, and takes it over (version_free). It
 * runs wherever version_put was called and must not block.
 */
struct catalog *catalog_new(void (*gone)(void *context, struct version *version), void *context);

/* Gives up all versions; nobody may hold a reference any more. NULL is accepted. */
void catalog_free(struct catalog *catalog);

/* Makes an unpublished version with one reference, all else zero. Returns NULL without memory. */
struct version *version_new(void);
void version_free(struct version *version);

/* Copies what a row says about times, sizes, owner and signature. */
void version_from_row(struct version *version, const struct version_row *row);

/* Finds a loaded version and takes a reference. Returns NULL when it is not loaded. */
struct version *catalog_find(struct catalog *catalog, const char *type,
			     const struct digest *digest);

/* The same by slot; an unloaded version's slot gives NULL. */
struct version *catalog_find_slot(struct catalog *catalog, uint32_t slot);

/* Takes one more reference. */
struct version *version_get(struct version *version);

/* Gives a reference back; the last one of an unloaded version frees its contents. NULL accepted. */
void version_put(struct version *version);

/* Where `type` is routed. Returns -ENOENT when it has no route. */
int catalog_route(struct catalog *catalog, const char *type, struct digest *ret_digest);

/* Whether any version of the type is loaded. */
bool catalog_has_type(struct catalog *catalog, const char *type);

/* A list of names, NUL-terminated, owned by the caller: free(list.names). Sorted bytewise. */
struct name_list {
	size_t count;
	char (*names)[TYPE_MAX + 1];
};

/* The types with at least one loaded version. Returns -ENOMEM. */
int catalog_list_types(struct catalog *catalog, struct name_list *ret_list);

/* The types that have a route. Returns -ENOMEM. */
int catalog_list_routes(struct catalog *catalog, struct name_list *ret_list);

/*
 * The loaded versions of a type (of all types for NULL), each with a reference, by type, then newest
 * deploy first. Returns -ENOMEM. Ownership: catalog_list_free gives the references back.
 */
struct version_list {
	size_t count;
	struct version **versions;
};
int catalog_list_versions(struct catalog *catalog, const char *type,
			  struct version_list *ret_list);
void catalog_list_free(struct version_list *list);

/*
 * The version of `type` whose hex name begins with `prefix`. Returns it with a reference, or NULL
 * with *ret_error -ENOENT (none) or -EINVAL (several).
 */
struct version *catalog_find_prefix(struct catalog *catalog, const char *type, const char *prefix,
				    int *ret_error);

/* Whether a version of that digest is loaded under another type (for a message). */
bool catalog_has_elsewhere(struct catalog *catalog, const char *type, const struct digest *digest);

struct catalog_counts {
	uint64_t types, versions, routes;
};
void catalog_count(struct catalog *catalog, struct catalog_counts *ret_counts);

/* Latest change of anything in the catalog (ns, wall clock): mtime of packages/ and routes/. */
int64_t catalog_changed_ns(struct catalog *catalog);

/* When the type's set of versions changed last; 0 for an unknown type. */
int64_t catalog_type_changed_ns(struct catalog *catalog, const char *type);

/* When the type's route was pointed last; 0 without one. */
int64_t catalog_route_changed_ns(struct catalog *catalog, const char *type);

/*
 * Publishing, by deploy, route, unload and reload only, under the type's change lock.
 * catalog_add takes over the caller's reference and sets `slot`. Returns -ENOMEM.
 * catalog_remove drops the catalog's reference; the version stays readable for its holders.
 */
int catalog_add(struct catalog *catalog, struct version *version);
void catalog_remove(struct catalog *catalog, struct version *version, int64_t at_ns);
int catalog_set_route(struct catalog *catalog, const char *type, const struct digest *digest,
		      int64_t at_ns);
void catalog_remove_route(struct catalog *catalog, const char *type, int64_t at_ns);

/*
 * The lock that orders changes of one type: deploy, stage, route, unload. May be held across a
 * commit to the store; never taken by a reader, never across anything on the mount itself.
 */
void catalog_lock_type(struct catalog *catalog, const char *type);
void catalog_unlock_type(struct catalog *catalog, const char *type);

#endif
