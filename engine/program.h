/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PROGRAM_H
#define ENGINE_PROGRAM_H

#include <stddef.h>

/*
 * The directory of the running program itself, without a slash at its end ("" for /).
 * Returns 0, -errno; -ENAMETOOLONG when `size` is too small.
 */
int program_directory(char *path, size_t size);

/*
 * Where one of our own helper programs is: beside the running program when there is one that can be
 * executed (a build directory), else where it is installed. Whether it exists is found out by
 * starting it.
 */
void program_find(const char *name, char *path, size_t size);

#endif
