// SPDX-License-Identifier: Apache-2.0
// Nothing: the target that has the precompiled headers needs a source.
