"""Every physics figure of one sample against another."""
