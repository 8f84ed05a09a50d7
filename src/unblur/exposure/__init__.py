"""How a camera blurs: averaging in linear light, camera response, motion during the exposure."""
