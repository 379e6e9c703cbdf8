// As in Lambda, NODE_PATH leads to layers for `require` alone; an ES module makes itself one.
import { createRequire } from "node:module";

const { __assign } = createRequire(import.meta.url)("tslib");

export const handler = async (event) => __assign({ now: new Date(0).toISOString() }, event);
