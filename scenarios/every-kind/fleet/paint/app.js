// Paints a word; what it is asked to paint is not always a word.
const colors = require("picocolors");

exports.handler = async (event) => {
  if (event.fail) {
    throw new TypeError("there is nothing to paint");
  }
  return { painted: colors.createColors(true).green("layer") };
};
