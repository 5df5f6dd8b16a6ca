/* SPDX-License-Identifier: Apache-2.0 */
/* What may be a type's name, and the one way in which a module's name becomes one. */
#include "engine/type.h"

#include <errno.h>
#include <string.h>

static bool is_type_byte(char byte)
{
	return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
	       (byte >= '0' && byte <= '9') || byte == '_' || byte == '@' || byte == '.' ||
	       byte == '-';
}

bool type_is_valid(const char *name, size_t length)
{
	struct digest digest;

	if (length == 0 || length > TYPE_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!is_type_byte(name[i]))
			return false;
	}
	return digest_parse(name, length, &digest) != 0;
}

int type_from_module(const char *module, size_t length, char ret_type[TYPE_MAX + 1])
{
	if (length > TYPE_MAX)
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		ret_type[i] = module[i] == '/' ? '@' : module[i];
	ret_type[length] = '\0';
	return type_is_valid(ret_type, length) ? 0 : -EINVAL;
}
