--- `<Plug>` mappings, and default keys that leave alone what others have mapped.

local config = require('fimd.config')

local M = {}

--- What a key does, by its name in setup{ keys = … } and in `<Plug>(fimd-name)`.
---@type table<string, { run: (fun(): boolean), description: string }>
local actions = {
  accept = {
    run = function()
      return require('fimd').accept()
    end,
    description = 'fimd: accept the suggestion',
  },
  accept_word = {
    run = function()
      return require('fimd').accept_word()
    end,
    description = 'fimd: accept a word of the suggestion',
  },
  accept_line = {
    run = function()
      return require('fimd').accept_line()
    end,
    description = 'fimd: accept a line of the suggestion',
  },
  next = {
    run = function()
      return require('fimd').next()
    end,
    description = 'fimd: next suggestion',
  },
  prev = {
    run = function()
      return require('fimd').prev()
    end,
    description = 'fimd: previous suggestion',
  },
  dismiss = {
    run = function()
      return require('fimd').dismiss()
    end,
    description = 'fimd: dismiss the suggestion',
  },
  trigger = {
    run = function()
      return require('fimd').trigger()
    end,
    description = 'fimd: suggest now',
  },
}

--- Keys mapped by setup, with what was there before, and keys left to others.
---@type table<string, string> key to action
M.mapped = {}
---@type table<string, string> key to action that it would have had
M.taken = {}

---@param key string
---@return table? mapping that is not one of Neovim's own defaults
local function existing(key)
  local mapping = vim.fn.maparg(key, 'i', false, true)
  if vim.tbl_isempty(mapping) then
    return nil
  end
  return mapping
end

---@param mapping table
---@return boolean
local function is_default(mapping)
  return (mapping.desc or ''):find('^vim%.snippet%.') ~= nil
end

--- Does what the key does without us.
---@param key string
---@param before table? Neovim's own mapping of it
local function fall_back(key, before)
  local keys = key
  if before and before.callback then
    local result = before.callback()
    if before.expr ~= 1 then
      return
    end
    keys = type(result) == 'string' and result or ''
  end
  keys = vim.api.nvim_replace_termcodes(keys, true, true, true)
  vim.api.nvim_feedkeys(keys, 'in', false)
end

---@param key string
---@param action string
local function map(key, action)
  local before = existing(key)
  if before and not is_default(before) and not config.chosen_keys[action] and not M.mapped[key] then
    M.taken[key] = action
    return
  end
  local is_tab = key:lower() == '<tab>'
  local is_alt = key:lower():find('^<[ma]%-') ~= nil
  local original = before and is_default(before) and before or nil
  M.mapped[key] = action
  vim.keymap.set('i', key, function()
    if is_tab and (vim.fn.pumvisible() == 1 or require('fimd').wants_indent()) then
      fall_back(key, original)
    elseif not actions[action].run() and not is_alt then
      -- An Alt key pressed in vain must not act as Escape.
      fall_back(key, original)
    end
  end, { desc = actions[action].description })
end

function M.plug()
  for name, action in pairs(actions) do
    vim.keymap.set('i', ('<Plug>(fimd-%s)'):format(name:gsub('_', '-')), action.run, {
      desc = action.description,
    })
  end
end

function M.set()
  for key in pairs(M.mapped) do
    pcall(vim.keymap.del, 'i', key)
  end
  M.mapped, M.taken = {}, {}
  for name in pairs(actions) do
    local keys = config.current.keys and config.current.keys[name] or {}
    for _, key in ipairs(type(keys) == 'table' and keys or { keys }) do
      map(key, name)
    end
  end
end

return M
